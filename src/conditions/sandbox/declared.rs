//! Finds the declarations of a module and the documents that it reads, in its syntax tree (regorus writes it as JSON).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Declarations of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Package as a path: `data.action.policy`.
    pub package: String,
    /// Names of the rules, without functions.
    pub rules: BTreeSet<String>,
    /// Documents that the module names: `pods` for `input.related.pods`.
    pub related: BTreeSet<String>,
    /// Line that reads all of `input` or of `input.related`, so that the needed documents are unknown.
    pub reads_all: Option<u64>,
}

/// Returns the declarations of each module, in their order.
pub fn declared(ast: &str) -> Result<Vec<Declared>, String> {
    let modules: Vec<Value> = serde_json::from_str(ast).map_err(|error| format!("no syntax tree: {error}"))?;
    modules.iter().map(|module| one(module.get("ast").unwrap_or(&Value::Null), texts(module))).collect()
}

/// Returns the text of a module.
fn texts(module: &Value) -> &str {
    module.pointer("/source/contents").and_then(Value::as_str).unwrap_or_default()
}

fn one(module: &Value, text: &str) -> Result<Declared, String> {
    let package = module.pointer("/package/refr").and_then(path).ok_or("a package without a name")?;
    let mut declared = Declared {
        package: package.iter().fold("data".to_owned(), |path, part| path + &segment(part)),
        ..Declared::default()
    };
    let rules = module.get("rules").and_then(Value::as_array).into_iter().flatten();
    for rule in rules.clone() {
        let heads = ["Compr", "Set"].map(|form| format!("/Spec/head/{form}/refr"));
        let heads = heads.iter().map(String::as_str).chain(["/Default/refr"]);
        let names = heads.filter_map(|at| rule.pointer(at).and_then(root));
        declared.rules.extend(names.map(str::to_owned));
    }
    // An import with an alias looks like a `with`; its document is read under another name.
    for import in module.get("imports").and_then(Value::as_array).into_iter().flatten() {
        if let Some(reference) = import.get("refr").filter(|reference| root(reference) == Some("input")) {
            note(reference, &mut declared);
        }
    }
    for rule in rules {
        visit(rule, &mut declared);
        if let Some(line) = negations(rule, text) {
            return Err(format!(
                "line {line}: `not` with a wildcard or a variable that nothing outside binds means something else than in OPA \
                 (which refuses it as unsafe); write `every`, or `count` a comprehension"
            ));
        }
    }
    Ok(declared)
}

/// Writes a part of a path as Rego does.
fn segment(part: &str) -> String {
    let plain =
        part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !part.starts_with(|c: char| c.is_ascii_digit());
    if plain { format!(".{part}") } else { format!("[{}]", Value::from(part)) }
}

/// Returns the variable at the start of a reference.
fn root(reference: &Value) -> Option<&str> {
    let mut at = reference;
    loop {
        if let Some(name) = at.pointer("/Var/value") {
            return name.as_str();
        }
        at = at.pointer("/RefDot/refr").or_else(|| at.pointer("/RefBrack/refr"))?;
    }
}

/// Returns the parts of a reference; `None` if any part is not a constant.
fn path(reference: &Value) -> Option<Vec<String>> {
    if let Some(name) = reference.pointer("/Var/value").and_then(Value::as_str) {
        return Some(vec![name.to_owned()]);
    }
    if let Some(inner) = reference.pointer("/RefDot/refr") {
        let mut parts = path(inner)?;
        parts.push(reference.pointer("/RefDot/field/1")?.as_str()?.to_owned());
        return Some(parts);
    }
    let mut parts = path(reference.pointer("/RefBrack/refr")?)?;
    parts.push(reference.pointer("/RefBrack/index/String/value")?.as_str()?.to_owned());
    Some(parts)
}

/// Returns the longest beginning of a reference without variables: `input`, `related` for `input.related[x].y`.
fn constant_beginning(reference: &Value) -> Vec<String> {
    let mut at = reference;
    loop {
        if let Some(parts) = path(at) {
            return parts;
        }
        match at.pointer("/RefDot/refr").or_else(|| at.pointer("/RefBrack/refr")) {
            Some(inner) => at = inner,
            None => return Vec::new(),
        }
    }
}

fn visit(node: &Value, declared: &mut Declared) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| visit(item, declared)),
        Value::Object(fields) => {
            // In a test, `with input as …` sets the input: nothing is read there.
            if fields.contains_key("refr") && fields.contains_key("as") && !fields.contains_key("eidx") {
                fields.iter().filter(|(name, _)| *name != "refr").for_each(|(_, value)| visit(value, declared));
                return;
            }
            if root(node) == Some("input") {
                note(node, declared);
                indices(node, declared);
                return;
            }
            fields.values().for_each(|value| visit(value, declared));
        }
        _ => {}
    }
}

/// Records what a reference to `input` reads.
fn note(reference: &Value, declared: &mut Declared) {
    let parts = constant_beginning(reference);
    match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["input", "related", name, ..] => {
            declared.related.insert((*name).to_owned());
        }
        ["input"] | ["input", "related"] => {
            declared.reads_all = declared.reads_all.or(Some(line(reference)));
        }
        _ => {}
    }
}

/// Visits the expressions in brackets, which may read documents of their own.
fn indices(reference: &Value, declared: &mut Declared) {
    if let Some(index) = reference.pointer("/RefBrack/index") {
        visit(index, declared);
    }
    if let Some(inner) = reference.pointer("/RefDot/refr").or_else(|| reference.pointer("/RefBrack/refr")) {
        indices(inner, declared);
    }
}

/// Returns the line of a `not` that iterates: regorus takes the loop out of the `not`, so that it means "some is not"
/// instead of "none is".
fn negations(node: &Value, text: &str) -> Option<u64> {
    match node {
        Value::Array(items) => items.iter().find_map(|item| negations(item, text)),
        Value::Object(fields) => {
            let statements = fields.get("stmts").and_then(Value::as_array);
            let own = statements.and_then(|statements| in_query(statements, text));
            own.or_else(|| fields.values().find_map(|inner| negations(inner, text)))
        }
        _ => None,
    }
}

/// Returns such a line among the statements of one body.
fn in_query(statements: &[Value], text: &str) -> Option<u64> {
    let negated = |statement: &Value| statement.pointer("/literal/NotExpr").cloned();
    let mut bound = BTreeSet::new();
    for statement in statements.iter().filter(|statement| negated(statement).is_none()) {
        // `some x` alone binds nothing.
        if statement.pointer("/literal/SomeVars").is_none() {
            variables(statement, &mut bound);
        }
    }
    let declared: BTreeSet<String> = statements
        .iter()
        .filter_map(|statement| statement.pointer("/literal/SomeVars/vars")?.as_array())
        .flatten()
        .filter_map(|span| {
            let at = |field: &str| usize::try_from(span.get(field)?.as_u64()?).ok();
            text.get(at("start")?..at("end")?).map(str::to_owned)
        })
        .collect();
    statements.iter().filter_map(negated).find_map(|expression| {
        let mut used = BTreeSet::new();
        variables(&expression, &mut used);
        let loose = |name: &&String| name.as_str() == "_" || (declared.contains(*name) && !bound.contains(*name));
        used.iter().any(|name| loose(&name)).then(|| line(&json!({ "not": expression })))
    })
}

/// Collects the variables of an expression, without those of comprehensions, which have their own body.
fn variables(node: &Value, found: &mut BTreeSet<String>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| variables(item, found)),
        Value::Object(fields) => {
            for (name, inner) in fields {
                match name.as_str() {
                    "ArrayCompr" | "SetCompr" | "ObjectCompr" => {}
                    "Var" => found.extend(inner.get("value").and_then(Value::as_str).map(str::to_owned)),
                    _ => variables(inner, found),
                }
            }
        }
        _ => {}
    }
}

fn line(node: &Value) -> u64 {
    let fields = node.as_object().into_iter().flat_map(serde_json::Map::values);
    { fields }.find_map(|inner| inner.pointer("/span/line")?.as_u64()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(rego: &str) -> Declared {
        let mut engine = regorus::Engine::new();
        engine.add_policy("x.rego".to_owned(), rego.to_owned()).unwrap();
        declared(&engine.get_ast_as_json().unwrap()).unwrap().remove(0)
    }

    #[test]
    fn tells_package_and_rules() {
        let declared = of(
            "package a.b[\"c-d\"]\ndefault allow := false\nallow if f(1)\nf(x) := x\ndeny contains \"x\"\nm[k] := 1 if k := 2",
        );
        assert_eq!(declared.package, "data.a.b[\"c-d\"]");
        assert_eq!(declared.rules.into_iter().collect::<Vec<_>>(), ["allow", "deny", "m"]);
    }

    #[rstest]
    #[case::dots("allow if input.related.pods[_].ready", &["pods"])]
    #[case::brackets("allow if input[\"related\"][\"nodes\"][0].ready", &["nodes"])]
    #[case::some("allow if { some pod in input.related.pods; pod.node == input.related.nodes[_].name }", &["nodes", "pods"])]
    #[case::every("allow if { every pod in input.related.pods { pod.ready } }", &["pods"])]
    #[case::comprehension("allow if count([1 | input.related.events[_].count > 3]) > 1", &["events"])]
    #[case::in_an_index("allow if input.target[input.related.quotas[0].name]", &["quotas"])]
    #[case::function("f(x) if input.related.usage[x]\nallow if f(0)", &["usage"])]
    #[case::else_branch("allow := true if false\nelse := true if input.related.pods", &["pods"])]
    #[case::default_value("allow if object.get(input.related.pods, 0, {}) == {}", &["pods"])]
    #[case::nothing("allow if input.target.spec.replicas > 3", &[])]
    #[case::mocked("allow if t with input as {\"related\": 1}\nt if input.target", &[])]
    #[case::in_a_string("allow if \"input.related.pods\" == input.action.type", &[])]
    fn tells_which_documents_are_read(#[case] rules: &str, #[case] expected: &[&str]) {
        let declared = of(&format!("package a\n{rules}"));
        assert_eq!(declared.related.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(declared.reads_all, None);
    }

    #[rstest]
    #[case("import input.related.pods\nallow if pods[0].ready")]
    #[case("import input.related.pods as p\nallow if p[0].ready")]
    fn an_import_reads_what_it_names(#[case] rules: &str) {
        assert!(of(&format!("package a\n{rules}")).related.contains("pods"));
    }

    fn refused(rules: &str) -> bool {
        let mut engine = regorus::Engine::new();
        engine.add_policy("x.rego".to_owned(), format!("package a\n{rules}")).unwrap();
        declared(&engine.get_ast_as_json().unwrap()).is_err_and(|error| error.contains("line 2: `not`"))
    }

    #[rstest]
    #[case::wildcard("allow if not input.target.containers[_].privileged")]
    #[case::in_a_call("allow if not f(input.target.containers[_])\nf(x) if x.y")]
    #[case::in_a_comparison("deny contains \"x\" if not input.target.owners[_].kind == \"X\"")]
    #[case::declared_and_not_bound("allow if { some i; not input.target.containers[i].privileged }")]
    fn a_not_that_iterates_is_refused(#[case] rules: &str) {
        assert!(refused(rules), "{rules}");
    }

    #[rstest]
    #[case::bound_by_some_in("allow if { some c in input.target.containers; not c.privileged }")]
    #[case::bound_by_a_reference(
        "allow if { some i; input.target.containers[i].name; not input.target.containers[i].privileged }"
    )]
    #[case::in_a_comprehension("allow if not count([1 | input.target.containers[_].privileged]) > 0")]
    #[case::membership("allow if not \"ALL\" in input.target.drop")]
    #[case::plain("allow if not input.target.paused")]
    fn other_negations_are_fine(#[case] rules: &str) {
        assert!(!refused(rules), "{rules}");
    }

    #[rstest]
    #[case::all("allow if object.get(input, \"related\", {})")]
    #[case::all_documents("allow if count(input.related) > 0")]
    #[case::a_variable("allow if { x := \"pods\"; input.related[x] }")]
    #[case::at_the_top("allow if { some x; input[x] }")]
    #[case::walk("allow if walk(input, [_, 1])")]
    #[case::assigned("allow if { x := input; x.related }")]
    #[case::alias_of_all("import input as i\nallow if i.related.pods")]
    #[case::alias_of_documents("import input.related as r\nallow if r.pods")]
    fn says_when_it_cannot_be_told(#[case] rules: &str) {
        assert_eq!(of(&format!("package a\n{rules}")).reads_all, Some(2), "{rules}");
    }
}
