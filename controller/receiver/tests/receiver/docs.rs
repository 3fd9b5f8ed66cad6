//! docs/audit.md says what the program does.

use std::fs;
use std::path::Path;

use super::support::Database;

/// The table of columns is the database's own comments.
#[tokio::test]
async fn the_page_has_the_columns_and_their_meanings() {
    const MARKS: [&str; 2] = ["<!-- generated: columns -->\n", "<!-- end -->"];
    let database = Database::migrated().await;
    let sql = "SELECT '| `' || attname || '` | ' || format_type(atttypid, NULL) || ' | ' || col_description(attrelid, attnum) || ' |' AS line
               FROM pg_attribute WHERE attrelid = 'kubernetes_execution_audit'::regclass AND attnum > 0 ORDER BY attnum";
    let rows = database.rows(sql).await;
    // A column without a comment has no line, which is null.
    let lines: Vec<_> = rows.iter().map(|row| row["line"].as_str().unwrap()).collect();
    let table = format!("| column | type | meaning |\n|---|---|---|\n{}\n", lines.join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (found, after) = rest.split_once(MARKS[1]).unwrap();
    if test_cluster::assets::variable("UPDATE").is_some() {
        fs::write(&path, format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1])).unwrap();
    } else {
        assert_eq!(found, table, "run UPDATE=1 cargo test -p audit-receiver docs, and look at the difference");
    }
}
