//! Runs the document's functions, in the languages that it shows them in.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tempfile::TempDir;
use webhook_bridge::receiver::Verifier;
use webhook_bridge::sink::signing::Signer;

use super::cases::cases;
use super::document::sections;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs python3"]
async fn python_verifies_what_the_bridge_signs_and_nothing_else() {
    let folder = functions("python", |scheme| format!("{scheme}.py"), str::to_owned);
    fs::write(folder.path().join("main.py"), PYTHON).unwrap();
    judge(Command::new("python3").arg("main.py"), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node"]
async fn node_verifies_what_the_bridge_signs_and_nothing_else() {
    let export = |function: &str| format!("{function}\nmodule.exports = verify;\n");
    let folder = functions("javascript", |scheme| format!("{scheme}.js"), export);
    fs::write(folder.path().join("main.js"), NODE).unwrap();
    judge(Command::new("node").arg("main.js"), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs go"]
async fn go_verifies_what_the_bridge_signs_and_nothing_else() {
    let folder = functions("go", |scheme| format!("{scheme}/verify.go"), str::to_owned);
    fs::write(folder.path().join("go.mod"), "module receiver\n\ngo 1.18\n").unwrap();
    let (mut imports, mut calls) = (String::new(), String::new());
    for (index, section) in sections().iter().enumerate() {
        let scheme = &section.scheme;
        let request = if scheme == "custom" { "c.Secret, c.Method, c.Path" } else { "c.Secret" };
        writeln!(imports, "\ts{index} \"receiver/{scheme}\"").unwrap();
        writeln!(calls, "\tcase \"{scheme}\":\n\t\treturn s{index}.Verify({request}, header, c.Body)").unwrap();
    }
    fs::write(folder.path().join("main.go"), GO.replace("IMPORTS", &imports).replace("CALLS", &calls)).unwrap();
    let mut go = Command::new("go");
    go.args(["run", "."]).envs([("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("GO111MODULE", "on")]);
    judge(&mut go, folder.path()).await;
}

#[test]
fn the_key_pair_that_is_made_as_the_document_says_is_one() {
    let sections = sections();
    let section = sections.iter().find(|section| section.scheme == "standard-webhooks-ed25519").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh").args(["-ec", section.function("sh")]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let [private, public] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let bytes = |key: &str, prefix| BASE64.decode(key.strip_prefix(prefix).unwrap()).unwrap();
    let pair = [bytes(private, "whsk_"), bytes(public, "whpk_")].concat();
    // With the public half behind it, a key is compared with that.
    let secret = format!("whsk_{}", BASE64.encode(pair));
    Signer::new(&section.config(&[&secret])).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(Verifier::new(&section.config(&[public])).is_ok());
}

/// A folder with the functions of a language, each in a file of its own.
fn functions(language: &str, file: impl Fn(&str) -> String, change: impl Fn(&str) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for section in sections() {
        let path = folder.path().join(file(&section.scheme));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, change(section.function(language))).unwrap();
    }
    folder
}

/// Hands all cases to a program, which gives a list of what it thinks of each.
async fn judge(program: &mut Command, folder: &Path) {
    let cases = cases().await;
    let requests: Vec<&Value> = cases.iter().map(|case| &case.request).collect();
    let program = program.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(serde_json::to_string(&requests).unwrap().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts: Vec<bool> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdicts.len(), cases.len());
    let wrong = cases.iter().zip(verdicts).filter(|(case, verdict)| case.is_right != *verdict);
    let wrong: Vec<_> = wrong.map(|(case, verdict)| format!("{} → {verdict}: {}", case.name, case.request)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PYTHON: &str = r#"
import base64, json, sys

def verify_of(scheme):
    names = {}
    exec(open(scheme + ".py").read(), names)
    return names["verify"]

def verdict(case):
    request = [case["method"], case["path"]] if case["scheme"] == "custom" else []
    body = base64.b64decode(case["body"])
    return verify_of(case["scheme"])(case["secret"], *request, case["headers"], body)

json.dump([verdict(case) for case in json.load(sys.stdin)], sys.stdout)
"#;

const NODE: &str = r#"
const cases = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const verdicts = cases.map(({ scheme, secret, method, path, headers, body }) => {
  const request = scheme === "custom" ? [method, path] : [];
  return require("./" + scheme + ".js")(secret, ...request, headers, Buffer.from(body, "base64"));
});
process.stdout.write(JSON.stringify(verdicts));
"#;

const GO: &str = r#"
package main

import (
	"encoding/json"
	"net/http"
	"os"

IMPORTS)

type request struct {
	Scheme, Secret, Method, Path string
	Headers                      map[string]string
	Body                         []byte
}

func verify(c request) bool {
	header := http.Header{}
	for name, value := range c.Headers {
		header.Set(name, value)
	}
	switch c.Scheme {
CALLS	}
	panic(c.Scheme)
}

func main() {
	var requests []request
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		panic(err)
	}
	verdicts := []bool{}
	for _, c := range requests {
		verdicts = append(verdicts, verify(c))
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		panic(err)
	}
}
"#;
