//! What is written without the interpreter, and that it is what the interpreter would write.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::Direct;
use crate::jq::{Failure, Limits, Options, Program, Value};

fn compiled(text: &str, size: u64) -> Program {
    let options = Options { limits: Limits::with_size(size), ..Options::default() };
    Program::compile(text, &options).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn value(json: serde_json::Value) -> Value {
    Value::of_json(Arc::new(json))
}

/// What a program gives, as JSON and as text.
fn given(program: &Program, input: &Value) -> [Result<String, Failure>; 2] {
    [program.run_json(input), program.run_text(input)]
}

#[test]
fn members_of_the_event_are_written_without_the_interpreter() {
    let input = value(json!({"id": "a\"b", "data": {"n": 1, "o": {"x": [true]}, "none": null}}));
    for (text, expected) in [
        (".data.n", "1"),
        ("{id, n: .data.n, \"o p\": .data[\"o\"].x, m: .data.m.n}", r#"{"id":"a\"b","n":1,"o p":[true],"m":null}"#),
        (".data | . | {n, o: (.o | {x})}", r#"{"n":1,"o":{"x":[true]}}"#),
        ("[.id, [], {}, null, true, 1.50, \"a\\nb\"]", r#"["a\"b",[],{},null,true,1.50,"a\nb"]"#),
        ("\"\\(.id): \\(.data.n) \\(.data.o) \\(.data.m) \\([.id])\"", r#""a\"b: 1 {\"x\":[true]} null [\"a\\\"b\"]""#),
        (".data.none // .data.m // \"x\"", "\"x\""),
        (".data | .o | .x", "[true]"),
        ("need(.data.n)", "1"),
    ] {
        let program = compiled(text, 1 << 20);
        let direct = program.direct(&input, Direct::json);
        assert_eq!(direct.as_deref(), Some(expected), "{text}");
    }
    let program = compiled("\"\\(.id)/\\(.data.n // 0)\"", 1 << 20);
    assert_eq!(program.direct(&input, Direct::text).as_deref(), Some("a\"b/1"));
}

#[test]
fn what_is_not_plain_is_for_the_interpreter() {
    for text in [
        ".data.n + 1",
        "{(.id): 1}",
        "{id, id: 2}",
        ".data[]",
        ".data.o.x[0]",
        "def f: .id; f",
        ".id as $i | $i",
        "@uri \"\\(.id)\"",
        "[.[]]",
        "{a: (1, 2)}",
        "-1",
        "..",
        "if .id then 1 else 2 end",
    ] {
        assert!(compiled(text, 1 << 20).compiled.direct.is_none(), "{text}");
    }
    let input = value(json!({"id": "a", "data": {"n": "long text"}}));
    for (text, size, failure) in [
        (".id.x", 1 << 20, "text has no member `x`"),
        ("need(.data.m)", 1 << 20, "`.data.m` is missing from the event"),
        ("{n: .data.n}", 12, "makes a value of more than 12 bytes"),
    ] {
        let error = compiled(text, size).run_json(&input).unwrap_err().to_string();
        assert!(error.contains(failure), "{text}: {error}");
    }
}

fn any_program() -> impl Strategy<Value = String> {
    let name = || proptest::sample::select(vec!["a", "b", "data", "\"a b\""]);
    let place = move || {
        proptest::collection::vec(name(), 0..4).prop_map(|names| match names.as_slice() {
            [] => ".".to_owned(),
            names => names.iter().map(|name| format!(".{name}")).collect(),
        })
    };
    let literal =
        proptest::sample::select(vec!["1", "1.50", "-0", "1e400", "null", "false", "\"x\\u0000é\"", "[]", "{}"]);
    let leaf = prop_oneof![4 => place(), 1 => literal.prop_map(str::to_owned), 1 => place().prop_map(|p| format!("need({p})"))];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("{{a: ({one}), b: ({other}), data}}")),
            (place(), inner.clone()).prop_map(|(place, inner)| format!("({place} | {inner})")),
            (place(), inner.clone()).prop_map(|(place, inner)| format!("({place} // {inner})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("[{one}, {other}]")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("\"<\\({one})\\t\\({other})\"")),
        ]
    })
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let number = |digits: &str| serde_json::from_str(digits).unwrap();
    let leaf = proptest::sample::select(vec![
        json!(null),
        json!(false),
        json!(true),
        json!("x"),
        json!("\u{7f}\"\\\n/é"),
        json!(""),
        number("1.10"),
        number("-0"),
        number("1e400"),
        number("123456789012345678901234567890"),
        json!(-7),
        json!([1, [null]]),
    ]);
    leaf.prop_recursive(3, 16, 3, |inner| {
        let names = proptest::sample::select(vec!["a", "b", "data", "a b"]);
        proptest::collection::vec((names, inner), 0..4)
            .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

proptest! {
    /// Whatever the program and the event, the interpreter would have given the same, failures too.
    #[test]
    fn the_interpreter_would_give_the_same(text in any_program(), event in any_json()) {
        let mut program = compiled(&text, 1 << 20);
        let input = value(event);
        let quick = given(&program, &input);
        program.compiled.direct = None;
        prop_assert_eq!(quick, given(&program, &input), "{}", text);
    }
}
