//! Parses policies and conditions, to learn the documents that they read and the permissions that this needs.

use std::collections::BTreeSet;
use std::time::Duration;

use actions::cluster::error::{Error, Result};
use actions::k8s::{Kind, Permission, Resource};
use contract::condition::Condition;
use contract::text::did_you_mean;

use super::documents::{Needed, Related};
use super::module::Module;
use super::sandbox::child::{Answer, Task};
use super::sandbox::{Declared, parent};
use super::{library, policy_dir, policy_inline};
use crate::request::PolicySource;

/// The time limit for parsing one module.
const PARSING: Duration = Duration::from_secs(10);

/// A condition that can be evaluated.
#[derive(Debug, Clone)]
pub struct ParsedCondition {
    /// The condition as the request has it.
    pub condition: Condition,
    /// Module of the condition, with the shared module if imported.
    pub modules: Vec<Module>,
    /// Package, such as `data.night`.
    pub package: String,
    /// Kinds of target that a ready condition is for.
    pub kinds: Option<&'static [Kind]>,
    /// True when the module has a rule `reasons` for why the condition does not hold.
    pub has_reasons: bool,
    /// Documents that the module reads.
    pub related: BTreeSet<Related>,
}

impl ParsedCondition {
    /// Returns why the condition is not for a target of this kind, if so.
    pub fn misfit(&self, kind: Option<Kind>) -> Option<String> {
        let kinds = self.kinds.filter(|kinds| !kinds.is_empty() && !kind.is_some_and(|kind| kinds.contains(&kind)))?;
        let names = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let given = kind.map_or("a target of another kind", Kind::name);
        Some(format!("{} is for {names}, not for {given}", self.condition.r#type))
    }
}

/// The policy and the conditions of a run.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Modules of the policy, if there is one.
    pub policy: Option<Vec<Module>>,
    /// Preconditions.
    pub before: Vec<ParsedCondition>,
    /// Postconditions.
    pub after: Vec<ParsedCondition>,
}

impl Conditions {
    /// Parses everything. Each bad condition is a problem; a policy that cannot be used refuses the run.
    pub async fn parse(
        policy: &PolicySource,
        before: &[Condition],
        after: &[Condition],
        problems: &mut Vec<String>,
    ) -> Result<Self> {
        let before = conditions("ACTION_PRECONDITIONS", before, problems).await;
        let after = conditions("ACTION_POSTCONDITIONS", after, problems).await;
        let policy = policies(policy)
            .await
            .map_err(|why| Error::Refused(format!("{why}; a policy that cannot be evaluated lets nothing pass")))?;
        Ok(Self { policy, before, after })
    }

    /// Returns the documents that the preconditions read.
    pub fn needed_before(&self) -> Needed {
        needed(&self.before)
    }

    /// Returns the documents that the postconditions follow.
    pub fn needed_after(&self) -> Needed {
        needed(&self.after)
    }

    /// Returns the permissions to read the documents about a target of this kind, beside those of the action itself.
    pub fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        let mut all: BTreeSet<Permission> =
            self.needed_before().into_keys().flat_map(|one| one.permissions(resource, false)).collect();
        all.extend(self.needed_after().into_keys().flat_map(|one| one.permissions(resource, true)));
        if !self.after.is_empty() {
            // The target itself is followed too.
            all.insert(Permission::on_target("get", resource));
            all.insert(Permission::on_target("watch", resource));
        }
        all
    }

    /// Returns the permissions without which the run does not begin: those of required conditions that can be checked
    /// before the target is known. An optional condition that may not read its documents is reported as not evaluated.
    pub fn permissions_beforehand(&self, resource: &Resource) -> BTreeSet<Permission> {
        let only = |all: &[ParsedCondition]| {
            let keep = |one: &ParsedCondition| {
                let related = one.related.iter().copied().filter(|one| one.asked_beforehand()).collect();
                ParsedCondition { related, ..one.clone() }
            };
            all.iter().filter(|one| one.condition.required).map(keep).collect()
        };
        Self { policy: None, before: only(&self.before), after: only(&self.after) }.permissions(resource)
    }
}

/// Returns the documents that some conditions read, with true if a required one does.
fn needed(conditions: &[ParsedCondition]) -> Needed {
    let mut needed = Needed::new();
    for condition in conditions {
        for one in &condition.related {
            *needed.entry(*one).or_default() |= condition.condition.required;
        }
    }
    needed
}

async fn conditions(variable: &str, all: &[Condition], problems: &mut Vec<String>) -> Vec<ParsedCondition> {
    let mut parsed = Vec::new();
    for (index, condition) in all.iter().enumerate() {
        match parse(condition).await {
            Ok(one) => parsed.push(one),
            Err(why) => problems.push(format!("{variable}: [{index}] ({}): {why}", condition.r#type)),
        }
    }
    parsed
}

/// Parses one condition. An error says what is wrong with it.
pub async fn parse(condition: &Condition) -> Result<ParsedCondition, String> {
    let module = match &condition.rego {
        Some(rego) => Module { name: format!("{}.rego", condition.r#type), text: rego.clone() },
        None => library::module(&condition.r#type).ok_or_else(|| {
            let hint = did_you_mean(&condition.r#type, library::names());
            format!("it has no rego, and there is no ready condition of that name{hint} (`action-runner policy list` shows all)")
        })?,
    };
    let modules = library::with_shared(vec![module]);
    let declared = declared(&modules).await?.into_iter().next().ok_or("it declares nothing")?;
    if !declared.rules.contains("allow") {
        return Err(format!("{} has no rule `allow`, which holds when the condition does", declared.package));
    }
    let related = declared.related.iter().map(|name| Related::parse(name)).collect::<Result<BTreeSet<_>, _>>()?;
    if let Some(line) = declared.reads_all {
        return Err(format!(
            "line {line} reads all of input or of input.related; name what it needs, such as input.related.pods: only that is read"
        ));
    }
    Ok(ParsedCondition {
        condition: condition.clone(),
        modules,
        package: declared.package,
        kinds: if condition.rego.is_none() { library::kinds(&condition.r#type) } else { None },
        has_reasons: declared.rules.contains("reasons"),
        related,
    })
}

/// Returns the declarations of modules.
pub async fn declared(modules: &[Module]) -> Result<Vec<Declared>, String> {
    let task = Task { modules: modules.to_vec(), rules: Vec::new() };
    match parent::ask(&task, "", PARSING).await? {
        Answer::Declared(declared) => Ok(declared),
        Answer::Trouble(trouble) => Err(trouble.to_string()),
        Answer::Values(_) => Err("the evaluator answered something else".to_owned()),
    }
}

async fn policies(source: &PolicySource) -> Result<Option<Vec<Module>>, String> {
    if source.folder.is_none() && source.inline.is_none() {
        return Ok(None);
    }
    let mut all = Vec::new();
    if let Some(folder) = &source.folder {
        let name = |why| format!("ACTION_POLICY_DIR: {why}");
        all.extend(
            denying(policy_dir::read(folder, false).map_err(name)?, &folder.display().to_string())
                .await
                .map_err(name)?,
        );
    }
    if let Some(text) = &source.inline {
        let name = |why| format!("ACTION_POLICIES: {why}");
        all.extend(denying(policy_inline::read(text).map_err(name)?, "it").await.map_err(name)?);
    }
    Ok(Some(library::with_shared(all)))
}

/// Checks that the modules can deny something, and returns them. An error says what is wrong with them; `place` is where
/// they are.
async fn denying(own: Vec<Module>, place: &str) -> Result<Vec<Module>, String> {
    let modules = library::with_shared(own.clone());
    let declared = declared(&modules).await?;
    let denies = |one: &&Declared| one.package == policy_dir::PACKAGE && one.rules.contains(policy_dir::RULE);
    if declared.iter().find(denies).is_none() {
        return Err(format!(
            "no file in {place} has `package action.policy` and a rule `deny`: it could not deny anything"
        ));
    }
    let stray = |one: &Declared| one.package != policy_dir::PACKAGE && one.rules.contains(policy_dir::RULE);
    if let Some((module, one)) = modules.iter().zip(&declared).find(|(_, one)| stray(one)) {
        return Err(format!(
            "{} has a rule `deny` in {}, where nobody asks for it; its package must be action.policy",
            module.name, one.package
        ));
    }
    let reads = modules.iter().zip(&declared).find(|(_, one)| !one.related.is_empty());
    match reads {
        Some((module, _)) => Err(format!(
            "{} reads input.related, which policies do not have: they judge the request and its target; use a precondition",
            module.name
        )),
        None => Ok(own),
    }
}
