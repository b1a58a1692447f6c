//! The examples of `docs/cli.md` run as they are written, one after another.

mod common;

use std::collections::BTreeMap;

/// The files that the page shows: a line "`name`:" before a block of YAML.
fn files(page: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (name, block) in page.match_indices("```yaml\n").map(|(at, _)| (&page[..at], &page[at + 8..])) {
        let name = name.trim_end().rsplit('\n').next().unwrap().trim_matches(['`', ':']);
        files.insert(name.to_owned(), block.split("```").next().unwrap().to_owned());
    }
    files
}

/// The words of a command; quotes keep one together.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(nth, part)| match nth % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn every_example_of_the_page_does_what_it_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, text) in files(&page) {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let mut ran = 0;
    for line in page.lines().filter_map(|line| line.strip_prefix("$ farebox ")) {
        let (command, code) =
            line.split_once(" # exit ").map_or((line, 0), |(line, code)| (line, code.parse().unwrap()));
        let (command, file) = command.split_once(" > ").map_or((command, None), |(line, file)| (line, Some(file)));
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (found, said, complained) = common::text(folder, &words);
        assert_eq!(found, code, "{line}\n{said}{complained}");
        if let Some(file) = file {
            std::fs::write(folder.join(file), said).unwrap();
        }
        ran += 1;
    }
    assert!(ran >= 13, "{ran}");
}
