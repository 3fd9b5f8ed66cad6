//! Destinations of the lines: stdout, a folder, or one bundle for an address.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::{Details, Source};
use crate::cluster::run::LogSink;
use crate::export::budget::Share;

/// Bytes that are written at once: as many as a pipe holds.
const BATCH: usize = 64 << 10;

/// Receives the kept lines of each log, one after the other.
pub(super) trait Output {
    /// Writes one log.
    fn put(&mut self, source: &Source, share: &Share) -> io::Result<()>;
}

/// Writes lines before the result.
pub(super) struct Lines(pub Arc<dyn LogSink>);

/// Writes one file per container and instance: for its owner alone, and only where nothing lies.
pub(super) struct Folder(OwnedFd);

/// Packs such files and an index into one compressed archive.
pub(super) struct Bundle {
    archive: tar::Builder<GzEncoder<Vec<u8>>>,
    time: u64,
}

impl Output for Lines {
    fn put(&mut self, _source: &Source, share: &Share) -> io::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        for line in &share.lines {
            if batch.len() + line.len() >= BATCH {
                self.0.write_lines(&batch)?;
                batch.clear();
            }
            batch.extend_from_slice(line);
            batch.push(b'\n');
        }
        self.0.write_lines(&batch)
    }
}

impl Folder {
    /// Opens the folder once: what its path leads to later does not matter.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let folder = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self(folder))
    }

    /// Creates a file. Who else may write into the folder could have laid a link there, to a file that only we may write.
    fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from);
        file.map(File::from).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }
}

impl Output for Folder {
    fn put(&mut self, source: &Source, share: &Share) -> io::Result<()> {
        let mut file = BufWriter::new(self.create(&file_name(source))?);
        for line in &share.lines {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }
}

impl Output for Bundle {
    fn put(&mut self, source: &Source, share: &Share) -> io::Result<()> {
        let ends = share.lines.iter().flat_map(|line| [&**line, b"\n"]);
        let bytes = Chunks { chunks: ends, rest: &[] };
        self.append(&file_name(source), share.bytes, bytes)
    }
}

impl Bundle {
    /// Starts an empty bundle whose files carry this time.
    pub(super) fn new(time: Timestamp) -> Self {
        let time = u64::try_from(time.as_second()).unwrap_or_default();
        Self { archive: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default())), time }
    }

    /// Returns the archive's bytes, with an index of its contents and of what could not be read.
    pub(super) fn finish(mut self, details: &Details) -> io::Result<Vec<u8>> {
        let index = serde_json::to_vec_pretty(details)?;
        self.append("collection.json", index.len(), index.as_slice())?;
        self.archive.into_inner()?.finish()
    }

    fn append(&mut self, name: &str, size: usize, bytes: impl io::Read) -> io::Result<()> {
        // As in a folder: whoever unpacks it decides who else reads it.
        const READABLE: u32 = 0o600;
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(size).map_err(io::Error::other)?);
        header.set_mode(READABLE);
        header.set_mtime(self.time);
        self.archive.append_data(&mut header, name, bytes)
    }
}

/// Returns a file name. Pod names are subdomains and container names labels (both were checked): neither holds a path.
fn file_name(source: &Source) -> String {
    let suffix = if source.previous { "_previous" } else { "" };
    format!("{}_{}{suffix}.log", source.pod.name, source.container)
}

/// Reads slices one after the other, without copying them together first.
struct Chunks<'a, I> {
    chunks: I,
    rest: &'a [u8],
}

impl<'a, I: Iterator<Item = &'a [u8]>> io::Read for Chunks<'a, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.next() {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        self.rest.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn source() -> Source {
        let pod = crate::k8s::ObjectRef {
            resource: crate::k8s::Kind::Pod.resource(),
            namespace: Some("shop".parse().unwrap()),
            name: "web-1".parse().unwrap(),
            uid: None,
        };
        Source {
            pod,
            container: "app".to_owned(),
            kind: super::super::ContainerKind::Main,
            previous: true,
            obstacle: None,
            ran: None,
            node: None,
            out_of_sight: false,
        }
    }

    fn share() -> Share {
        let mut share = Share::default();
        for line in ["one", "two"] {
            share.lines.push_back(line.as_bytes().into());
            share.bytes += line.len() + 1;
        }
        share
    }

    #[test]
    fn a_file_in_a_folder_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        Folder::open(folder.path()).unwrap().put(&source(), &share()).unwrap();
        let file = folder.path().join("web-1_app_previous.log");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// A link to a file of ours, one to nothing, and a file: each stays as it is.
    #[test]
    fn nothing_that_lies_there_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("web-1_app_previous.log"), folder.path().join("other"));
        std::fs::write(&other, "ours").unwrap();
        for target in [Some("other"), Some("nothing"), None] {
            match target {
                Some(target) => std::os::unix::fs::symlink(target, &file).unwrap(),
                None => std::fs::write(&file, "theirs").unwrap(),
            }
            let error = Folder::open(folder.path()).unwrap().put(&source(), &share()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
            assert!(error.to_string().starts_with("web-1_app_previous.log: "), "{error}");
            assert_eq!(std::fs::read_to_string(&other).unwrap(), "ours");
            assert!(!folder.path().join("nothing").exists());
            assert!(target.is_some() || std::fs::read_to_string(&file).unwrap() == "theirs");
            std::fs::remove_file(&file).unwrap();
        }
    }

    /// The folder that was opened is written to, not what lies at its path by then.
    #[test]
    fn the_folder_stays_the_same() {
        let place = tempfile::tempdir().unwrap();
        let [path, moved, theirs] = ["logs", "moved", "theirs"].map(|name| place.path().join(name));
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        let mut folder = Folder::open(&path).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        std::os::unix::fs::symlink(&theirs, &path).unwrap();
        folder.put(&source(), &share()).unwrap();
        assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 0);
        assert!(moved.join("web-1_app_previous.log").exists());
    }

    #[test]
    fn a_bundle_holds_each_log_and_an_index() {
        let mut bundle = Bundle::new(Timestamp::UNIX_EPOCH);
        bundle.put(&source(), &share()).unwrap();
        let bytes = bundle.finish(&Details { lines: 2, ..Details::default() }).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let files: Vec<(String, String)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect();
        assert_eq!(files[0], ("web-1_app_previous.log".to_owned(), "one\ntwo\n".to_owned()));
        assert!(files[1].0 == "collection.json" && files[1].1.contains("\"lines\": 2"));
    }
}
