//! The memory that a child may take: no more than the container has left, so that the kernel does not have to kill. On cgroup
//! v2 the kubelet sets `memory.oom.group`, and then the kernel kills all of the container: the runner beside the child.

use std::fs;
use std::path::{Path, PathBuf};

/// The most memory for a child: a Job's pod has 64 MiB for it and the runner. More in a larger pod would only let what grows
/// without end grow for longer.
pub const MOST: u64 = 40 << 20;
/// What is left to the runner, and for what a process costs the kernel (page tables, buffers of pipes).
const RESERVE: u64 = 8 << 20;
/// Files of cgroup v1 hold a number near 2^63 where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the bytes that a child may add to the program's own address space.
pub fn for_a_child() -> u64 {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    left(Path::new("/sys/fs/cgroup"), &own).map_or(MOST, |left| left.saturating_sub(RESERVE).min(MOST))
}

/// The files of a control group's memory: of the limit, of what is in use, and the name of what is in use and can be
/// given back at once.
struct Files {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
    cached: &'static str,
}

impl Files {
    fn left(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        // Where there is no limit, v2 says `max`.
        let limit = read(self.limit)?.trim().parse::<u64>().ok().filter(|limit| *limit < NO_LIMIT)?;
        let used = read(self.used)?.trim().parse::<u64>().ok()?;
        // Files that were read stay in memory as long as nobody needs it.
        let cached = read("memory.stat").unwrap_or_default();
        let cached = cached.lines().find_map(|line| line.strip_prefix(self.cached)?.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    }
}

/// Returns the memory that the own control group has left; `None` when nothing limits it.
fn left(mount: &Path, own: &str) -> Option<u64> {
    let v2 = |folder| Files { folder, limit: "memory.max", used: "memory.current", cached: "inactive_file " };
    let v1 = |folder| Files {
        folder,
        limit: "memory.limit_in_bytes",
        used: "memory.usage_in_bytes",
        cached: "total_inactive_file ",
    };
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            return v2(mount.join(path)).left();
        }
        let memory = controllers.split(',').any(|one| one == "memory");
        // A container sees its own group at the root of the mount, and is told the path that the node sees.
        let root = mount.join("memory");
        memory.then(|| v1(root.join(path)).left().or_else(|| v1(root).left()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const MIB: u64 = 1 << 20;

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        mount
    }

    const V1: &str = "12:cpu,cpuacct:/pod/x\n5:memory:/pod/x\n0::/\n";

    #[rstest]
    #[case::v2("0::/\n", &[("memory.max", "67108864\n"), ("memory.current", "12582912\n")], Some(52 * MIB))]
    #[case::v2_files_read_before("0::/\n", &[("memory.max", "67108864\n"), ("memory.current", "12582912\n"), ("memory.stat", "anon 1\ninactive_file 4194304\n")], Some(56 * MIB))]
    #[case::v2_below_another("0::/user/a b\n", &[("memory.max", "1\n"), ("memory.current", "1\n"), ("user/a b/memory.max", "67108864"), ("user/a b/memory.current", "0")], Some(64 * MIB))]
    #[case::v2_used_up("0::/\n", &[("memory.max", "1048576\n"), ("memory.current", "12582912\n")], Some(0))]
    #[case::v2_without_a_limit("0::/\n", &[("memory.max", "max\n"), ("memory.current", "12582912\n")], None)]
    #[case::v2_at_the_root("0::/\n", &[], None)]
    #[case::v1_in_a_container(V1, &[("memory/memory.limit_in_bytes", "67108864\n"), ("memory/memory.usage_in_bytes", "12582912\n"), ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 4194304\n")], Some(56 * MIB))]
    #[case::v1_on_the_node(V1, &[("memory/memory.limit_in_bytes", "1"), ("memory/memory.usage_in_bytes", "1"), ("memory/pod/x/memory.limit_in_bytes", "67108864\n"), ("memory/pod/x/memory.usage_in_bytes", "0\n")], Some(64 * MIB))]
    #[case::v1_without_a_limit(V1, &[("memory/memory.limit_in_bytes", "9223372036854771712\n"), ("memory/memory.usage_in_bytes", "12582912\n")], None)]
    #[case::unreadable("", &[("memory.max", "67108864\n")], None)]
    fn what_a_control_group_has_left(#[case] own: &str, #[case] files: &[(&str, &str)], #[case] expected: Option<u64>) {
        assert_eq!(left(mounted(files).path(), own), expected);
    }
}
