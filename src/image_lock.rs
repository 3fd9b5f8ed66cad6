//! An image's lock: a root-owned file in the image that says what the image may be used for. The lock wins over every
//! variable and argument, so that a Job with the wrong action for its image ends before it does anything.
//!
//! ```text
//! # what this image is for
//! action scale
//! upload-host s3.eu-central-1.amazonaws.com
//! ```
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
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(refuse(format!("cannot be read: {error}"))),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lock = Self::default();
        let lines = text.lines().map(str::trim).enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |what: &str| format!("has {line:?} in line {}, expected {what}", number + 1);
            match line.split_once(' ') {
                Some(("action", name)) => {
                    let verb = Verb::ALL.into_iter().find(|verb| verb.name() == name.trim());
                    lock.verbs.push(verb.ok_or_else(|| wrong("an action, such as scale"))?);
                }
                Some(("upload-host", host)) => {
                    lock.upload_hosts.push(host.trim().parse().map_err(|error: String| wrong(&error))?);
                }
                _ => return Err(wrong("`action NAME` or `upload-host HOST`")),
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
    #[case::bad_host("upload-host a/b", "expected a host")]
    fn what_is_not_understood_is_no_lock(#[case] text: &str, #[case] says: &str) {
        let error = ImageLock::parse(text).unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn an_image_without_one_may_be_used_for_all_and_an_unreadable_one_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(ImageLock::read(&path).unwrap().allows(Verb::Cordon).is_ok());
        std::fs::create_dir(&path).unwrap();
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
