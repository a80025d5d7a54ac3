//! Holds the table "The house" of ARCHITECTURE.md against what the modules really import, so that it stays true.
//!
//! Only the code that ships counts: unit tests may use whatever they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// What a module may import, by its name.
type Layers = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_module_imports_only_what_the_architecture_allows() {
    let layers = layers(&read(&repository().join("ARCHITECTURE.md")));
    let mut faults = Vec::new();
    for file in source_files(&repository().join("src")) {
        let Some(module) = module(&file) else { continue };
        let Some(allowed) = layers.get(&module) else {
            faults.push(format!("`{module}` is in no row of the table"));
            continue;
        };
        let imported = imports(&shipped_part(&read(&file)));
        let forbidden = imported.iter().filter(|import| **import != module && !allowed.contains(*import));
        faults.extend(forbidden.map(|import| format!("{}: `{module}` may not import `{import}`", file.display())));
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_connector_imports_another() {
    let sources = repository().join("src/source");
    let connectors = ["amqp", "file", "kafka", "stdin"];
    let mut faults = Vec::new();
    for connector in connectors {
        let folder = sources.join(connector);
        let single = sources.join(format!("{connector}.rs"));
        let files = if folder.is_dir() { source_files(&folder) } else { vec![single] };
        assert!(!files.is_empty(), "there is no connector `{connector}` any more");
        for file in files {
            let text = shipped_part(&read(&file));
            let others = connectors.iter().filter(|other| **other != connector);
            let imported = others.filter(|other| text.contains(&format!("crate::source::{other}")));
            faults.extend(imported.map(|other| format!("{}: `{connector}` imports `{other}`", file.display())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_is_read_as_it_is_meant() {
    let layers = layers(
        "## The house\n| folder or file | holds | may import |\n|---|---|---|\n\
         | `ack` `event` | shared | one another |\n\
         | `store/` | rows | the shared ones |\n\
         | `sink/` | HTTP | `ack` |\n\
         | `cli/` | all | those above |\n\n## Invariants\n| `other` | | |\n",
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(layers["event"], names(&["ack", "event"]));
    assert_eq!(layers["store"], names(&["ack", "event"]));
    assert_eq!(layers["sink"], names(&["ack"]));
    assert_eq!(layers["cli"], names(&["ack", "event", "store", "sink"]));
    assert!(!layers.contains_key("other"));
}

#[test]
fn imports_are_found_alone_and_in_groups_but_not_in_comments() {
    let text =
        "//! See [crate::cli].\nuse crate::ack::Ack;\nuse crate::{event::Event, store};\nfn f() { crate::sink::f() }";
    assert_eq!(imports(text), ["ack", "event", "sink", "store"].map(str::to_owned).into());
}

/// The table's rows: names in the first column, and in the third what they may import.
fn layers(architecture: &str) -> Layers {
    let section = architecture.split("## The house").nth(1).expect("ARCHITECTURE.md has \"The house\"");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').collect::<Vec<_>>());
    let mut layers = Layers::new();
    let mut shared = BTreeSet::new();
    for columns in rows {
        let modules = names(columns[1]);
        let mut allowed = names(columns[3]);
        if columns[3].contains("one another") {
            shared.clone_from(&modules);
            allowed.extend(modules.clone());
        }
        if columns[3].contains("the shared ones") {
            allowed.extend(shared.clone());
        }
        if columns[3].contains("those above") {
            allowed.extend(layers.keys().cloned());
        }
        layers.extend(modules.into_iter().map(|module| (module, allowed.clone())));
    }
    layers
}

/// The names of modules in a column; a path such as `tests/it/` is none.
fn names(column: &str) -> BTreeSet<String> {
    let name = Regex::new("`([a-z_]+)/?`").unwrap();
    name.captures_iter(column).map(|found| found[1].to_owned()).collect()
}

/// Every top-level module that the text names.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
    let alone = Regex::new(r"\bcrate::([a-z_]+)").unwrap();
    let group = Regex::new(r"\bcrate::\{([^;]*)\};").unwrap();
    let member = Regex::new(r"(?:^|,)\s*([a-z_]+)").unwrap();
    let nested = Regex::new(r"\{[^{}]*\}").unwrap();
    let mut found: BTreeSet<String> = alone.captures_iter(&code).map(|import| import[1].to_owned()).collect();
    for members in group.captures_iter(&code) {
        let flat = nested.replace_all(&members[1], "").into_owned();
        found.extend(member.captures_iter(&flat).map(|import| import[1].to_owned()));
    }
    found
}

/// A file without its unit tests, which stand at its end.
fn shipped_part(text: &str) -> String {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

/// The top-level module of a file; `None` for the crate's own roots.
fn module(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(repository().join("src")).unwrap();
    let first = Path::new(relative.components().next()?.as_os_str()).with_extension("");
    let name = first.to_str()?.to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// All Rust files below a folder, without those of unit tests.
fn source_files(folder: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().into_path());
    let is_test = |path: &Path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem == "tests" || stem.ends_with("_tests") || path.components().any(|part| part.as_os_str() == "tests")
    };
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs") && !is_test(path)).collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
