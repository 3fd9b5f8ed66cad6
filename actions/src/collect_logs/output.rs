//! Destinations of the lines: stdout, a folder, or one bundle for an address.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::{Details, Source};
use crate::cluster::run::LogSink;
use crate::export::budget::Share;

/// Receives the kept lines of each log, one after the other.
pub(super) trait Output {
    /// Writes one log.
    fn put(&mut self, source: &Source, share: &Share) -> io::Result<()>;
}

/// Writes lines before the result.
pub(super) struct Lines<'a>(pub &'a dyn LogSink);

/// Writes one file per container and instance.
pub(super) struct Folder<'a>(pub &'a Path);

/// Packs such files and an index into one compressed archive.
pub(super) struct Bundle {
    archive: tar::Builder<GzEncoder<Vec<u8>>>,
    time: u64,
}

impl Output for Lines<'_> {
    fn put(&mut self, _source: &Source, share: &Share) -> io::Result<()> {
        share.lines.iter().try_for_each(|line| self.0.write_line(line))
    }
}

impl Output for Folder<'_> {
    fn put(&mut self, source: &Source, share: &Share) -> io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(self.0.join(file_name(source)))?);
        for line in &share.lines {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }
}

impl Output for Bundle {
    fn put(&mut self, source: &Source, share: &Share) -> io::Result<()> {
        let ends = share.lines.iter().flat_map(|line| [line.as_slice(), b"\n"]);
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
        const READABLE: u32 = 0o644;
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

    #[test]
    fn a_bundle_holds_each_log_and_an_index() {
        let pod = crate::k8s::ObjectRef {
            resource: crate::k8s::Kind::Pod.resource(),
            namespace: Some("shop".parse().unwrap()),
            name: "web-1".parse().unwrap(),
            uid: None,
        };
        let source = Source {
            pod,
            container: "app".to_owned(),
            kind: super::super::ContainerKind::Main,
            previous: true,
            obstacle: None,
            ran: None,
        };
        let mut share = Share::default();
        for line in ["one", "two"] {
            share.lines.push_back(line.as_bytes().to_vec());
            share.bytes += line.len() + 1;
        }
        let mut bundle = Bundle::new(Timestamp::UNIX_EPOCH);
        bundle.put(&source, &share).unwrap();
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
