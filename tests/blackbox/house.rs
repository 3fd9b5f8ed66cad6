//! The plan of the house: which room may know of which, no circles, files of a size that can be read, comments that begin
//! with what a thing is or does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use syn::visit::Visit;

/// The folders of the product crates, and the names by which their files call each other.
const CRATES: [&str; 5] = ["actions/src", "contract/src", "controller/src", "controller/receiver/src", "src"];

/// What may be used by what stands below it, and not the other way. What is not named here is an action.
const FLOORS: [&[&str]; 6] = [
    &["k8s", "export"],
    &["cluster"],
    &["workload"],
    &["action"],
    &["scale", "restart", "rollback", "cordon", "collect_logs"],
    &["catalogue"],
];

/// The runner's rooms, in the same way.
const RUNNER_FLOORS: [&[&str]; 4] =
    [&["request", "image_lock", "output", "telemetry", "usage"], &["conditions"], &["run"], &["cli"]];

/// The controller's: what is pure stands below what asks and writes.
const CONTROLLER_FLOORS: [&[&str]; 12] = [
    &["names"],
    &["api", "metrics", "telemetry", "settings"],
    &["observe", "requests", "crd", "events", "plan", "clock"],
    &["job", "outcome", "queue", "lease", "serve", "shallow"],
    &["retry", "status", "audit"],
    &["next", "shared", "entrance"],
    &["context"],
    &["act", "late"],
    &["unreadable", "sweep"],
    &["reconcile"],
    &["watches"],
    &["run", "admission"],
];

/// The audit receiver's.
const RECEIVER_FLOORS: [&[&str]; 5] = [
    &["settings", "telemetry", "answer", "month", "event", "token", "tls", "database"],
    &["schema", "keep", "queries", "connections"],
    &["upkeep"],
    &["serve"],
    &["run"],
];

/// The most lines of a file, without its tests.
const LONGEST: usize = 300;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of a crate by its module's path: `workload::wait`.
fn modules(folder: &str) -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                // A module's tests.
                if !path.ends_with("tests") {
                    folders.push(path);
                }
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
                continue;
            }
            let inner = path.strip_prefix(root().join(folder)).unwrap().with_extension("");
            let mut parts: Vec<_> = inner.iter().map(|part| part.to_str().unwrap()).collect();
            if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
                parts.pop();
            }
            all.insert(parts.join("::"), path);
        }
    }
    all
}

/// The paths that a file names, as they stand there. What is for tests alone does not count.
#[derive(Default)]
struct Named(Vec<Vec<String>>);

fn for_tests(attributes: &[syn::Attribute]) -> bool {
    let is_test = |one: &syn::Attribute| {
        one.path().is_ident("cfg") && one.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    };
    attributes.iter().any(is_test)
}

impl Named {
    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.0.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.0.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.0.push(before.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
        }
    }
}

impl<'a> Visit<'a> for Named {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !for_tests(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&[], &item.tree);
    }
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.0.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

/// For each file of a crate the files that it names.
fn arrows(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules(folder);
    let target = |own: &str, path: &[String]| {
        let (mut from, mut rest): (Vec<String>, &[String]) = match path.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &path[1..]),
            Some("super" | "self") => (own.split("::").map(str::to_owned).collect(), path),
            _ => return None,
        };
        while let Some(first) = rest.first().filter(|first| matches!(first.as_str(), "super" | "self")) {
            if first == "super" {
                from.pop();
            }
            rest = &rest[1..];
        }
        from.extend(rest.iter().cloned());
        (0..=from.len()).rev().map(|length| from[..length].join("::")).find(|one| modules.contains_key(one))
    };
    let of = |(name, path): (&String, &PathBuf)| {
        let mut named = Named::default();
        named.visit_file(&syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap());
        // A parent holds its parts together; they may use what it has.
        let all = named.0.iter().filter_map(|path| target(name, path));
        let others = all.filter(|one| one != name && !one.is_empty() && !name.starts_with(&format!("{one}::")));
        (name.clone(), others.collect())
    };
    modules.iter().map(of).collect()
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// What is wrong with a crate's arrows, by its floors.
fn upwards(folder: &str, floors: &[&[&str]]) -> Vec<String> {
    let floor = |module: &str| floors.iter().position(|rooms| rooms.contains(&room(module)));
    let mut wrong = Vec::new();
    for (from, all) in arrows(folder) {
        for to in all.iter().filter(|to| room(to) != room(&from)) {
            match (floor(&from), floor(to)) {
                (Some(own), Some(other)) if own <= other => wrong.push(format!("{folder}: {from} names {to}")),
                (None, _) if !from.is_empty() => wrong.push(format!("{folder}: {from} stands on no floor")),
                _ => {}
            }
        }
    }
    wrong
}

#[test]
fn no_room_knows_of_one_above_it() {
    let wrong = [
        upwards("actions/src", &FLOORS),
        upwards("src", &RUNNER_FLOORS),
        upwards("controller/src", &CONTROLLER_FLOORS),
        upwards("controller/receiver/src", &RECEIVER_FLOORS),
    ]
    .concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What would be found.
    assert!(
        upwards("actions/src", &[&["workload"], &["cluster"]]).iter().any(|one| one.contains("workload::wait names"))
    );
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    for folder in CRATES {
        let mut left = arrows(folder);
        assert!(!left.is_empty());
        // Whoever names nobody that is left can be taken away; what stays is a circle, or leads to one.
        loop {
            let done: Vec<String> = left
                .iter()
                .filter(|(_, to)| !to.iter().any(|to| left.contains_key(to)))
                .map(|(from, _)| from.clone())
                .collect();
            if done.is_empty() {
                break;
            }
            left.retain(|from, _| !done.contains(from));
        }
        assert!(left.is_empty(), "{folder}: in a circle, or before one: {:?}", left.keys());
    }
}

/// What parses requests and reads results must be small enough for a controller: no Rego comes with it, and no PostgreSQL.
#[test]
fn rego_stays_in_the_runner_and_postgresql_in_the_receiver() {
    for package in ["contract", "actions", "execution-controller"] {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--package", package])
            .current_dir(root())
            .output()
            .unwrap();
        let tree = String::from_utf8(tree.stdout).unwrap();
        assert!(tree.contains("serde_json"), "{package}: {tree}");
        assert!(!tree.contains("regorus") && !tree.contains("postgres"), "{package}: {tree}");
    }
}

#[test]
fn files_can_be_read_in_one_go() {
    for path in CRATES.iter().flat_map(|folder| modules(folder).into_values()) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(lines <= LONGEST, "{} has {lines} lines without its tests; at most {LONGEST}", path.display());
    }
}

/// A comment says what a thing is or does: "What …", "Whether …", "It …" make the reader look for that.
#[test]
fn comments_begin_with_a_verb_or_a_noun() {
    const MOST_PERCENT: usize = 5;
    let (mut all, mut questions) = (0, Vec::new());
    for path in CRATES.iter().flat_map(|folder| modules(folder).into_values()) {
        let text = fs::read_to_string(&path).unwrap();
        let mut inside = false;
        for line in text.lines().map(str::trim_start) {
            let comment = line.strip_prefix("/// ").or(line.strip_prefix("//! "));
            if let Some(comment) = comment.filter(|_| !inside) {
                all += 1;
                let first = comment.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
                if ["What", "Whether", "How", "Why", "It", "Its"].contains(&first) {
                    questions.push(format!("{}: {comment}", path.display()));
                }
            }
            inside = line.starts_with("///") || line.starts_with("//!");
        }
    }
    eprintln!("{} of {all} comments begin with a question or a pronoun", questions.len());
    assert!(questions.len() * 100 <= all * MOST_PERCENT, "{} of {all}: {questions:#?}", questions.len());
}
