//! The order of the rooms: a module uses only what stands to its left.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// From left to right; rooms on one line stand on one level and may use each other.
const LEVELS: &[&[&str]] = &[
    &["status", "metadata", "deadline", "error", "time", "future"],
    &["frame", "compression"],
    &["call"],
    &["protocol", "channel"],
    &["transport", "rt"],
    &["client", "server"],
    &["services"],
    &["port"],
];

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&room))
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            files(&entry, into);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            into.push(entry);
        }
    }
}

#[test]
fn dependencies_point_to_the_left() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut list = Vec::new();
    files(&src, &mut list);
    let mut wrong = Vec::new();
    for file in &list {
        let inside = file.strip_prefix(&src).expect("below src");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if room == "lib" || inside.to_string_lossy().contains("test") {
            continue;
        }
        let Some(own) = level(&room) else {
            wrong.push(format!("{}: the room {room} is in no level", inside.display()));
            continue;
        };
        let text = fs::read_to_string(file).expect("readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for used in line.split("crate::").skip(1) {
                let name: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if level(&name).is_some_and(|theirs| theirs > own) {
                    wrong.push(format!("{}:{}: {room} uses {name}", inside.display(), number + 1));
                }
            }
        }
    }
    assert!(list.len() > 40, "the sources were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
