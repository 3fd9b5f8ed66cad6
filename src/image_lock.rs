//! An image's lock: a root-owned file in the image that says what the image may be used for. The lock wins over every
//! variable and argument, so that a Job with the wrong action for its image ends before it does anything.
//!
//! ```text
//! # what this image is for
//! action collect-logs
//! upload-host s3.eu-central-1.amazonaws.com/our-logs/
//! redact required
//! ```
//!
//! An endpoint that many share (S3, a proxy) stands with the path of one's own part of it: without, whoever has a bucket
//! there could be sent to.
//!
//! The lock protects against mistakes. Whoever may create pods may also choose another image, or mount a file over this
//! one: the boundary is the ServiceAccount's permissions.

use std::io;
use std::path::Path;

use actions::catalogue::{self, Verb};
use actions::cluster::error::Error;
use actions::export::destination::AllowedHost;

/// Path of an image's lock; nothing in the environment can change it.
const PATH: &str = "/etc/action-runner/lock";

/// The allowed uses of an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ImageLock {
    /// The only actions; empty when there is no lock.
    verbs: Vec<Verb>,
    /// The only hosts that logs may be uploaded to; empty when the Job decides.
    upload_hosts: Vec<AllowedHost>,
    /// True when logs are collected with redaction, or not at all.
    pub redact_required: bool,
}

impl ImageLock {
    /// Reads the lock of the image that this runs in; refuses an action that the image is not for.
    pub fn of_this_image(verb: Verb) -> Result<Self, Error> {
        let lock = Self::read(Path::new(PATH))?;
        lock.allows(verb).map(|()| lock)
    }

    /// Reads the lock, if there is one. A lock that cannot be read or understood refuses every run.
    fn read(path: &Path) -> Result<Self, Error> {
        let refuse = |why: String| {
            Error::Refused(format!(
                "this image's lock ({}) {why}; the image is broken: use another one, nothing was done",
                path.display()
            ))
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(refuse),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_covered(path) => Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(refuse("is covered, by an empty folder or a link to nothing".to_owned()))
            }
            Err(error) => Err(refuse(format!("cannot be read: {error}"))),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lock = Self::default();
        let lines = text.lines().map(str::trim).enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            // Another file may lie there: its content is not shown.
            let wrong = |what: &str| format!("is wrong in line {}, expected {what}", number + 1);
            match line.split_once(' ') {
                Some(("action", name)) => {
                    let verb = Verb::ALL.into_iter().find(|verb| verb.name() == name.trim());
                    lock.verbs.push(verb.ok_or_else(|| wrong("an action, such as scale"))?);
                }
                Some(("upload-host", host)) => {
                    lock.upload_hosts.push(host.trim().parse().map_err(|error: String| wrong(&error))?);
                }
                Some(("redact", word)) if word.trim() == "required" => lock.redact_required = true,
                _ => return Err(wrong("`action NAME`, `upload-host HOST` or `redact required`")),
            }
        }
        // Hosts alone would allow all actions, which nobody who writes a lock wants.
        if lock.verbs.is_empty() { Err("names no action".to_owned()) } else { Ok(lock) }
    }

    /// Fails unless the image may be used for this verb.
    fn allows(&self, verb: Verb) -> Result<(), Error> {
        if self.verbs.is_empty() || self.verbs.contains(&verb) {
            return Ok(());
        }
        let names = self.verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(", ");
        Err(Error::Refused(format!(
            "this image is locked to {names} ({PATH}); for {} use the image {}, or action-runner, which has all",
            verb.name(),
            catalogue::image_of(verb).name
        )))
    }

    /// Returns the hosts that logs may be uploaded to: the image's, or else the Job's.
    pub fn upload_hosts(&self, of_the_job: Vec<AllowedHost>) -> Vec<AllowedHost> {
        if self.upload_hosts.is_empty() { of_the_job } else { self.upload_hosts.clone() }
    }
}

/// Returns whether something lies where the lock, or its folder, would be. An image without a lock has neither; one that
/// has a lock may have something mounted over it.
fn is_covered(path: &Path) -> bool {
    let lies = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    lies(path) || path.parent().is_some_and(lies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn locks_to_its_actions() {
        let lock = ImageLock::parse("# what\n\naction cordon\naction uncordon\n").unwrap();
        assert!(lock.allows(Verb::Uncordon).is_ok());
        let error = lock.allows(Verb::Scale).unwrap_err().to_string();
        assert!(error.contains("locked to cordon, uncordon") && error.contains("action-scale"), "{error}");
    }

    #[rstest]
    #[case::empty("", "names no action")]
    #[case::only_a_comment("# x", "names no action")]
    #[case::only_hosts("upload-host logs.example", "names no action")]
    #[case::unknown_action("action drain", "line 1, expected an action")]
    #[case::unknown_word("# a\nactions scale", "line 2, expected `action NAME`")]
    #[case::bad_host("action scale\nupload-host a@b", "line 2, expected a host")]
    #[case::redaction_by_halves("action collect-logs\nredact maybe", "line 2, expected `action NAME`")]
    #[case::another_file("eyJhbGciOiJub25lIn0.hunter22", "line 1, expected `action NAME`")]
    fn what_is_not_understood_is_no_lock(#[case] text: &str, #[case] says: &str) {
        let error = ImageLock::parse(text).unwrap_err();
        assert!(error.contains(says) && !error.contains("hunter22"), "{error}");
    }

    #[test]
    fn may_require_redaction() {
        assert!(ImageLock::parse("action collect-logs\nredact required").unwrap().redact_required);
        assert!(!ImageLock::parse("action collect-logs").unwrap().redact_required);
    }

    #[test]
    fn what_covers_a_lock_refuses() {
        let refuses = |path: &Path| matches!(ImageLock::read(path), Err(Error::Refused(_)));
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("action-runner");
        let lock = own.join("lock");
        assert!(!refuses(&lock), "there is no lock, nor a folder for one");
        std::os::unix::fs::symlink(folder.path().join("nothing"), &own).unwrap();
        assert!(refuses(&lock), "a link to nothing in place of its folder");
        std::fs::remove_file(&own).unwrap();
        std::fs::create_dir(&own).unwrap();
        assert!(refuses(&lock), "an empty folder over its own");
        std::os::unix::fs::symlink(folder.path().join("nothing"), &lock).unwrap();
        assert!(refuses(&lock), "a link to nothing in its place");
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        assert!(refuses(&lock), "a folder in its place");
        std::fs::remove_dir(&lock).unwrap();
        // As a ConfigMap is mounted.
        std::fs::write(own.join("data"), "action scale").unwrap();
        std::os::unix::fs::symlink("data", &lock).unwrap();
        assert_eq!(ImageLock::read(&lock).unwrap().verbs, [Verb::Scale]);
    }

    #[test]
    fn an_image_without_one_may_be_used_for_all_and_an_unreadable_one_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("action-runner/lock");
        assert!(ImageLock::read(&path).unwrap().allows(Verb::Cordon).is_ok());
        std::fs::create_dir_all(&path).unwrap();
        assert!(matches!(ImageLock::read(&path), Err(Error::Refused(_))));
    }

    #[test]
    fn the_images_hosts_win_over_the_jobs() {
        let job: Vec<AllowedHost> = vec!["evil.example".parse().unwrap()];
        let image = ImageLock::parse("action collect-logs\nupload-host logs.example").unwrap();
        assert_eq!(image.upload_hosts(job.clone()), vec!["logs.example".parse().unwrap()]);
        assert_eq!(ImageLock::default().upload_hosts(job.clone()), job);
    }
}
