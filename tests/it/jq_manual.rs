//! The cases of jq's manual through `bridge eval --jq`, as a reader of the manual would try them.

use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::support::command;

/// The same cases as those that the library is tested by: program, input and results, divided by empty lines.
const CASES: &str = include_str!("../../src/jq/manual.txt");

#[test]
fn programs_of_the_manual_give_through_the_command_what_they_give_in_jq() {
    let cases: Vec<_> = CASES.split("\n\n").filter_map(case).collect();
    assert!(cases.len() > 150, "there are {} cases", cases.len());
    let wrong: Vec<_> =
        cases.iter().filter_map(|(program, input, expected)| difference(program, input, expected)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn case(text: &str) -> Option<(&str, &str, Vec<&str>)> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    Some((lines.next()?, lines.next()?, lines.collect()))
}

/// What is wrong with what `eval` prints for a case. Numbers are compared digit by digit.
fn difference(program: &str, input: &str, expected: &[&str]) -> Option<String> {
    let mut command = command();
    command.args(["eval", "--jq", &format!(".data | ({program})")]);
    let mut eval = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    write!(eval.stdin.take().unwrap(), "{{\"data\": {input}}}").unwrap();
    let Output { status, stdout, stderr } = eval.wait_with_output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    let printed: Vec<_> = stdout.lines().map(value).collect();
    let expected: Vec<_> = expected.iter().map(|line| value(line)).collect();
    let is_right = status.success() && printed == expected;
    let stderr = String::from_utf8_lossy(&stderr);
    (!is_right).then(|| format!("{program} of {input} prints {stdout}, not {expected:?}: {status}, {stderr}"))
}

fn value(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line} is not JSON: {error}"))
}
