//! What the run cost on its node: no API tells it once the pod has ended.

use std::fs;

use contract::result::Usage;

/// Returns the usage so far: the container's, where it has a control group of its own, else this process's and that of the
/// children that it has waited for.
pub fn now() -> Option<Usage> {
    of_container().or_else(of_process)
}

/// In a container, `/sys/fs/cgroup` is its own group; elsewhere it is the machine's, whose figures mean nothing here.
fn of_container() -> Option<Usage> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?.trim() == "0::/";
    let memory = fs::read_to_string("/sys/fs/cgroup/memory.peak").ok().filter(|_| own)?;
    from_cgroup(&memory, &fs::read_to_string("/sys/fs/cgroup/cpu.stat").ok()?)
}

fn from_cgroup(memory: &str, cpu: &str) -> Option<Usage> {
    let microseconds = cpu.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse::<u64>().ok()?;
    Some(Usage { cpu_ms: microseconds / 1000, memory_peak_bytes: memory.trim().parse().ok()? })
}

fn of_process() -> Option<Usage> {
    let (status, stat) = (fs::read_to_string("/proc/self/status").ok()?, fs::read_to_string("/proc/self/stat").ok()?);
    from_proc(&status, &stat, rustix::param::clock_ticks_per_second())
}

fn from_proc(status: &str, stat: &str, ticks_per_second: u64) -> Option<Usage> {
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    // Behind the name, which may hold anything, come the state and the numbers; utime is field 14 of proc_pid_stat(5),
    // then stime, and both of the children.
    let numbers = stat.rsplit_once(") ")?.1.split(' ').skip(11).take(4);
    let ticks: u64 = numbers.map(|number| number.parse::<u64>().unwrap_or(0)).sum();
    Some(Usage { cpu_ms: ticks * 1000 / ticks_per_second.max(1), memory_peak_bytes: kib << 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_control_group() {
        let usage = from_cgroup("9437184\n", "usage_usec 31250\nuser_usec 20000\n").unwrap();
        assert_eq!((usage.cpu_ms, usage.memory_peak_bytes), (31, 9_437_184));
        assert_eq!(from_cgroup("max", "usage_usec 1"), None);
        assert_eq!(from_cgroup("1", "user_usec 1"), None);
    }

    #[test]
    fn reads_a_process_and_its_children() {
        let stat = "7 (a b) c) R 1 7 7 0 -1 4194304 90 0 0 0 10 5 3 2 20 0 1 0 100 1000 200";
        let usage = from_proc("Name:\tx\nVmHWM:\t    9216 kB\n", stat, 100).unwrap();
        assert_eq!((usage.cpu_ms, usage.memory_peak_bytes), (200, 9216 << 10));
        assert_eq!(from_proc("", stat, 100), None);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(now().unwrap().memory_peak_bytes > 1 << 20);
    }
}
