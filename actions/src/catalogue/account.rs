//! The ServiceAccounts that actions run as: one for each action type, and one for what a selector finds.

use super::{ActionType, Verb};
use crate::cluster::evidence::{events, namespaces};
use crate::k8s::{Kind, Permission};

/// What stands in place of the kind where a selector stands in place of the name.
const SELECTOR: &str = "selector";

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The action type.
    pub action_type: ActionType,
    /// True for the account that reads the pods that a selector finds, and none by its name.
    pub by_selector: bool,
}

impl Account {
    /// Returns every account.
    pub fn all() -> Vec<Self> {
        Verb::ALL.into_iter().flat_map(Self::of_verb).collect()
    }

    /// Returns the accounts of a verb.
    pub fn of_verb(verb: Verb) -> Vec<Self> {
        let types = ActionType::all().into_iter().filter(|one| one.verb == verb);
        let named = types.map(|action_type| Self { action_type, by_selector: false });
        let pods = ActionType { verb: Verb::CollectLogs, kind: Kind::Pod };
        let selected = (verb == Verb::CollectLogs).then_some(Self { action_type: pods, by_selector: true });
        named.chain(selected).collect()
    }

    /// Returns the accounts that a name means: one, or all of a bare verb.
    pub fn named(name: &str) -> Vec<Self> {
        let name = name.to_lowercase().replace('_', "-");
        Self::all().into_iter().filter(|one| one.purpose() == name || one.action_type.verb.name() == name).collect()
    }

    /// Returns what the account is for, such as `scale-deployment` or `collect-logs-selector`.
    pub fn purpose(self) -> String {
        purpose(self.action_type.verb, &self.action_type.kind.lower(), self.by_selector)
    }

    /// Returns the value of the account's kind label.
    pub fn kind(self) -> String {
        if self.by_selector { SELECTOR.to_owned() } else { self.action_type.kind.lower() }
    }
}

/// Returns what an account is for. The account's name is this behind `action-`.
pub fn purpose(verb: Verb, kind: &str, by_selector: bool) -> String {
    format!("{}-{}", verb.name(), if by_selector { SELECTOR } else { kind })
}

/// Returns the permissions by which a run that waits can tell more of what it waits for. No run needs them: they are asked
/// about at that moment.
pub fn causes() -> [Permission; 4] {
    [
        Permission::of("list", &events()),
        Permission::of("get", &Kind::Pod.resource()).on_sub("log"),
        Permission::of("get", &namespaces()),
        Permission::of("get", &Kind::Node.resource()),
    ]
}

/// Returns the permission to post an Event about the target.
pub fn post_events() -> Permission {
    Permission::of("create", &events())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_an_account_and_a_selector_another() {
        let all = Account::all();
        assert_eq!(all.len(), ActionType::all().len() + 1);
        let named = |name: &str| Account::named(name).into_iter().map(Account::purpose).collect::<Vec<_>>();
        assert_eq!(named("scale_Deployment"), ["scale-deployment"]);
        assert_eq!(named("collect-logs-selector"), ["collect-logs-selector"]);
        assert_eq!(named("collect-logs").len(), 9);
        assert_eq!(named("scale-selector"), Vec::<String>::new());
        let [account] = Account::named("collect-logs-selector")[..] else { panic!() };
        assert_eq!(
            (account.kind(), account.action_type.name()),
            ("selector".to_owned(), "collect-logs-pod".to_owned())
        );
    }
}
