//! The examples of `docs/cli.md` run as they are written, one after another.

mod common;

use common::{ISSUER, key};
use farebox_core::receipt::verify::What;
use farebox_core::receipt::{Amount, Entry, Kind, Log, Pay, PayState, Receipt};
use std::collections::BTreeMap;
use std::path::Path;

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

/// What the page's examples of receipts and logs are about.
fn evidence(folder: &Path) {
    let mut log = Log::new([1; 16]);
    let now = 1_795_000_000;
    let mut lines = vec![log.head(ISSUER, &key(), now)];
    let pay = Pay {
        amount: Some(Amount(10_000)),
        asset: Some("eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".to_owned()),
        network: "eip155:8453".to_owned(),
        pay_to: None,
        payer: Some("eip155:8453:0x857b06519E91e3A54538791bDbb0E22373e36b66".to_owned()),
        scheme: "exact".to_owned(),
        state: PayState::Settled,
        transaction: Some(format!("0x{}", "ab".repeat(32))),
    };
    let receipt = Receipt {
        htm: "GET".to_owned(),
        htu: "https://api.example.com/v1/quotes/btc".to_owned(),
        status: 200,
        pay: Some(pay.clone()),
        ..Receipt::new(ISSUER, now, "r", &log.position())
    };
    let receipt = receipt.sign(&key());
    let entry = Entry { pay: Some(&pay), receipt: Some(Receipt::hash(&receipt)), ..Entry::new(Kind::Charge, "quotes") };
    lines.push(log.line(&entry, now));
    for number in 2..30 {
        let entry = Entry { status: Some(200), ..Entry::new(Kind::Draw, "quotes") };
        lines.push(if number % 10 == 0 { log.head(ISSUER, &key(), now) } else { log.line(&entry, now) });
    }
    let mut edited = lines.clone();
    edited[13] = edited[13].replace("200", "500");
    let proxys = |lines: &[String]| {
        let line = |line: &String| format!("[2026-11-18 11:06:40.000][12][info][wasm] wasm log farebox: {line}\n");
        format!("[2026-11-18 11:06:39.000][12][info][main] starting\n{}", lines.iter().map(line).collect::<String>())
    };
    for (name, text) in [
        ("receipt.txt", receipt),
        ("kept-head.txt", lines[20].clone()),
        ("envoy.log", proxys(&lines)),
        ("cut.log", proxys(&lines[..15])),
        ("edited.log", proxys(&edited)),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    common::write_keys(folder);
}

/// Whether `text` is `pattern`, in which `…` stands for anything within a line, and alone in a line for any lines.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<&str>, Vec<&str>) = (text.lines().collect(), pattern.lines().collect());
    lines_are_like(&text, &pattern)
}

fn lines_are_like(text: &[&str], pattern: &[&str]) -> bool {
    match (text, pattern) {
        (_, []) => text.is_empty(),
        (_, ["…", rest @ ..]) => (0..=text.len()).any(|from| lines_are_like(&text[from..], rest)),
        ([], _) => false,
        ([line, text @ ..], [like, pattern @ ..]) => line_is_like(line, like) && lines_are_like(text, pattern),
    }
}

fn line_is_like(line: &str, pattern: &str) -> bool {
    match pattern.split_once('…') {
        None => line == pattern,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.into_iter().any(|at| line_is_like(&line[at..], rest))
        }),
    }
}

#[test]
fn every_example_of_the_page_does_what_it_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, text) in files(&page) {
        std::fs::write(folder.join(name), text).unwrap();
    }
    evidence(folder);
    let mut ran = 0;
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    for example in blocks.flat_map(|block| block.split("$ farebox ").skip(1)) {
        let (line, expected) = example.split_once('\n').unwrap();
        let (command, code) =
            line.split_once(" # exit ").map_or((line, 0), |(line, code)| (line, code.parse().unwrap()));
        let (command, file) = command.split_once(" > ").map_or((command, None), |(line, file)| (line, Some(file)));
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (found, said, complained) = common::text(folder, &words);
        assert_eq!(found, code, "{line}\n{said}{complained}");
        let said = match file {
            None => said + &complained,
            Some(file) => {
                std::fs::write(folder.join(file), said).unwrap();
                complained
            }
        };
        assert!(is_like(&said, expected), "$ farebox {line}\n{said}--- and not\n{expected}");
        ran += 1;
    }
    assert_eq!(ran, page.matches("\n$ ").count(), "an example is in another kind of block");
    assert!(ran >= 15, "{ran}");
}

#[test]
fn the_page_tells_the_exit_codes_that_help_tells() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (code, help, _) = common::text(folder.path(), &["--help"]);
    assert_eq!(code, 0);
    for code in 0..=2 {
        assert!(help.contains(&format!("\n  {code}  ")) && page.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn the_page_explains_every_finding() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    for what in What::ALL {
        assert!(page.contains(&format!("\n| `{}` | ", what.wire())), "{what:?}");
    }
}
