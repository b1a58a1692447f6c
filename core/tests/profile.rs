//! `docs/profile.md` and `docs/operations.md` say what the code says.

use farebox_core::problem::Code;

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Rows of the table under a heading: cells without spaces and backticks around them.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect()
}

#[test]
fn the_table_of_problems_is_that_of_the_code() {
    let written: Vec<[String; 3]> = rows(&page("profile.md"), "Problems")
        .into_iter()
        .map(|row| {
            assert!(row.len() == 4 && row[3].len() > 20, "{row:?} does not say what to do");
            [row[0].clone(), row[1].clone(), row[2].clone()]
        })
        .collect();
    let declared: Vec<[String; 3]> = Code::ALL
        .iter()
        .map(|code| [code.wire().to_owned(), code.status().to_string(), code.advice().wire().to_owned()])
        .collect();
    assert_eq!(written, declared);
}

#[test]
fn every_advice_is_explained() {
    let page = page("profile.md");
    let mut explained: Vec<String> = rows(&page, "Advice").into_iter().map(|row| row[0].clone()).collect();
    let mut given: Vec<String> = Code::ALL.iter().map(|code| code.advice().wire().to_owned()).collect();
    explained.sort();
    given.sort();
    given.dedup();
    assert_eq!(explained, given);
}

#[test]
fn decisions_that_are_no_problem_are_listed_for_operators() {
    let listed: Vec<String> = rows(&page("operations.md"), "Decisions").into_iter().map(|row| row[0].clone()).collect();
    let mut expected = vec!["free", "paid", "redelivered", "paid_undelivered", "upstream_failed", "preflight"];
    expected.extend(["token", "credited", "token_given_again", "farebox_document"]);
    assert_eq!(listed, expected);
    // Each of them is what the gate counts.
    let gate: String = ["mod.rs", "conclude.rs", "token/issue.rs", "token/documents.rs"]
        .map(|file| std::fs::read_to_string(format!("{}/src/gate/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap())
        .concat();
    for decision in listed {
        assert!(gate.contains(&format!("\"{decision}\"")), "the gate never says {decision}");
    }
}
