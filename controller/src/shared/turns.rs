//! Whose turn it is to start something, among all that are known.

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::{Memory, Shared};
use crate::api::{KubernetesExecution, Stored};
use crate::queue::{Entry, Place, Turn};

impl Shared {
    /// Returns whose turn it is.
    pub fn turn(&self, uid: &str) -> Turn {
        self.memory().queue.turn(uid, self.timing.max_active)
    }

    /// Takes the turn, if it is still this execution's: two passes cannot both take the last place.
    pub fn claim(&self, uid: &str) -> Turn {
        let mut memory = self.memory();
        let turn = memory.queue.turn(uid, self.timing.max_active);
        if turn == Turn::Now {
            memory.claims.insert(uid.to_owned());
            if let Some(entry) = memory.queue.get(uid).cloned() {
                memory.queue.put(Entry { place: Place::Started, begins: true, ..entry });
            }
        }
        turn
    }

    /// Takes whether the API server answers to creations in a namespace. Where it does not, those that wait there are before nobody,
    /// and one of them is tried at a time, as long as nothing else is known.
    pub fn answers(&self, namespace: &str, answers: bool) {
        let mut memory = self.memory();
        if answers {
            memory.unanswered.remove(namespace);
        } else {
            memory.unanswered.insert(namespace.to_owned(), Timestamp::now());
        }
        memory.queue.answers(namespace, answers);
    }

    /// Takes that an attempt is about to be started by whoever has its place already: whatever the status says meanwhile, it keeps it
    /// until it is known that there is no Job.
    pub fn keeps_place(&self, execution: &KubernetesExecution) {
        if let Some(uid) = &execution.metadata.uid {
            self.memory().claims.insert(uid.clone());
        }
        self.note(execution);
    }

    /// Gives the turn back: what was to be started was refused, and holds nobody up.
    pub fn unclaim(&self, execution: &KubernetesExecution) {
        if let Some(uid) = &execution.metadata.uid {
            self.memory().claims.remove(uid);
        }
        self.note(execution);
    }

    /// Takes what asks for passes over the executions of this namespace, or of all.
    pub fn follow(&self, namespace: Option<&str>, trigger: UnboundedSender<ObjectRef<Stored>>) {
        self.memory().triggers.push((namespace.map(str::to_owned), trigger));
    }

    /// Asks for passes over those for whom there is a place, whatever namespace they are in. Asked when one has ended, and
    /// once a second: a place may become free in other ways, and nobody waits for it for ever.
    pub fn wake_waiting(&self) {
        /// So many at once; those behind them come next.
        const MOST: usize = 50;
        let mut memory = self.memory();
        memory.forgive();
        let ready = memory.queue.next(self.timing.max_active, MOST);
        let tries = memory.quiet().filter_map(|namespace| memory.queue.oldest_in(namespace));
        for one in ready.chain(tries) {
            let Some((namespace, name)) = one.name.split_once('/') else { continue };
            let of = |(own, _): &&(Option<String>, _)| own.as_deref().is_none_or(|own| own == namespace);
            if let Some((_, trigger)) = memory.triggers.iter().find(of) {
                // Nobody listens any more when the program ends.
                let _ended = trigger.unbounded_send(ObjectRef::new(name).within(namespace));
            }
        }
    }
}

impl Memory {
    /// Returns the namespaces that did not answer when somebody tried last, which is a while ago.
    fn quiet(&self) -> impl Iterator<Item = &str> {
        const WHILE: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
        let now = Timestamp::now();
        let quiet = move |(_, since): &(&String, &Timestamp)| now.duration_since(**since) > WHILE;
        self.unanswered.iter().filter(quiet).map(|(namespace, _)| namespace.as_str())
    }

    /// Forgets that a namespace did not answer when nobody has tried for long: whoever was to try may be gone.
    fn forgive(&mut self) {
        const LONG: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);
        let now = Timestamp::now();
        let over = self.unanswered.extract_if(|_, since| now.duration_since(*since) > LONG);
        for (namespace, _) in over {
            self.queue.answers(&namespace, true);
        }
    }
}
