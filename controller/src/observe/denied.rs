//! What the controller's account may not watch: as long as that is so, what is not seen may be there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A denied watch is tried again at least this often; one that works may be silent for ever.
const FRESH: Duration = Duration::from_mins(1);

/// Resources whose watch was denied, why, and when.
#[derive(Debug, Default)]
pub struct Denied(Mutex<HashMap<&'static str, (String, Instant)>>);

impl Denied {
    /// Remembers why a resource may not be watched; `None` once it is.
    pub fn set(&self, resource: &'static str, denied: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match denied {
            Some(why) => all.insert(resource, (why, Instant::now())),
            None => all.remove(resource),
        };
    }

    /// Returns why something may not be watched, if that is so.
    pub fn why(&self) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().find(|(_, since)| since.elapsed() < FRESH).map(|(why, _)| why.clone())
    }
}
