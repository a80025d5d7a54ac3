//! Whatever a program is, it ends: within its limits, with an error, and without taking the process along.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// The bound on a slow machine that has much else to do.
const BOUND: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 2 });

/// The defaults, but for the time: many programs take turns here.
fn short() -> Options {
    Options { limits: Limits { time: Duration::from_millis(60), ..Limits::default() }, ..Options::default() }
}

fn ends(text: &str, input: &Value) -> Result<Value, Failure> {
    ends_with(text, input, &short())
}

fn ends_with(text: &str, input: &Value, options: &Options) -> Result<Value, Failure> {
    let program = Program::compile(text, options).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    let started = Instant::now();
    let result = program.run_one(input);
    assert!(started.elapsed() < BOUND, "{text} ran for {:?}", started.elapsed());
    result
}

#[test]
fn programs_without_an_end_are_ended() {
    for text in [
        "range(1e18)",
        "[range(1e18)]",
        "first(range(1e18) | empty)",
        "last(range(1e18))",
        "reduce range(1e18) as $i (0; . + $i)",
        "[foreach range(1e18) as $i (0; . + $i)]",
        "def f: f; f",
        "def f: f | f; f",
        "def f: f, f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: (f | 1), 1; [f]",
        "def f: try f catch f; f",
        "def f: (f // f); f",
        "def f: .[f]?; f",
        "def f: f as $x | f; f",
        "def f: path(f); f",
        "def f: f |= f; f",
        "def f: .a | f; f |= 1",
        "def f: label $x | f; f",
        "def f(g): f(g | g); f(.)",
        "def f(g): g, f(g | g); [f(1)]",
        "def f(g): f(g); f(.)",
        "def f(g): def h: f(g, g); h; f(.)",
        "def f(x): x | f(f(x)); f(.)",
        "def f: def g: def h: f; h; g; f",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(60) as $i ([1]; . + .)",
        "reduce range(60) as $i (1; [., .]) | tojson",
        "reduce range(60) as $i (1; [., .]) as $a | reduce range(60) as $i (1; [., .]) | . == $a",
        "reduce range(60) as $i (1; {a: ., b: .}) | [..] | length",
        "reduce range(100000) as $i (1; [.])",
        "reduce range(100000) as $i (1; {a: .})",
        "reduce range(1e9) as $i (2; . * .) | tojson | length",
        "reduce range(1e9) as $i (\"x\"; . + \"y\") | length",
        "\"x\" * 1e9",
        "\"xyz\" * 1e18",
        "[limit(1e12; repeat(1))]",
        "until(false; .)",
        "while(true; .)",
        "[while(true; . + 1)]",
        "[recurse(.)]",
        "last(recurse(.))",
        "[recurse([., .])]",
        "null | [path(limit(1; recurse(.a) | select(false)))]",
        "last(path(recurse(.a)))",
        "[range(20)] | [range(20)] as $a | [$a, $a, $a, $a, $a, $a, $a, $a, $a, $a] | [combinations] | length",
        "[range(10)] | combinations(12)",
        "[.[]?] | [.] | combinations(1e9)",
        "[range(1e5)] | join(\",\") * 1e6",
        ".[1e9] = 1",
        ".[1e18] = 1",
        "[range(1e5)] | map(tostring) | [.[] as $x | .[] as $y | $x + $y] | length",
        "[range(3000)] as $a | $a - ($a | map(. + 1e9)) | [$a[] as $x | $a | index($x)] | [$a[] as $x | $a | contains([$x])] | length",
        "\"a\" | test(\"((a{100}){100}){\" + \"100}\")",
        "[splits(\"a\"; null)] | until(false; [splits(\"a\")?])",
        "(\"[\" * 100000) | fromjson",
        "(\"[\" * 100000) + (\"]\" * 100000) | fromjson",
        "(\"1\" * 1000000) | fromjson | . + 1 | until(false; . * .)",
        "try until(false; .) catch 1",
        "def f: try error(\"x\") catch f; f",
        "def f: (try until(false; .) catch .), f; first(f)",
        "[.[]?, (until(false; .)?)] | length",
        "limit(1; until(false; .)) // 1",
        "isempty(until(false; .))",
        "any(repeat(false); .)",
        "all(repeat(true); .)",
        "reduce repeat(1) as $x (null; .)",
        "walk(until(false; .))",
        "[range(1e6)] | sort_by(tostring) | group_by(. % 7) | length",
        "[limit(1e6; repeat(\"abc\"))] | unique_by(until(false; .))",
        "[range(1e7)] | min_by(.)",
        "getpath([range(1e6) | tostring])",
        "setpath([range(1e5) | \"a\"]; 1)",
        "[paths(..)] | until(false; [paths])",
        "ltrimstr(until(false; .))",
        "def f($n): if $n == 0 then 0 else 1 + f($n - 1) end; f(1e9)",
        "def ack($m; $n): if $m == 0 then $n + 1 elif $n == 0 then ack($m - 1; 1) else ack($m - 1; ack($m; $n - 1)) end; ack(4; 3)",
        "def fib: if . < 2 then . else (. - 1 | fib) + (. - 2 | fib) end; 60 | fib",
    ] {
        let result = ends(text, &Value::array([Value::from(1_usize), Value::from(2_usize)]));
        assert!(result.is_err(), "{text} gives {:?}", result.map(|value| value.to_json().len()));
    }
}

#[test]
fn regular_expressions_end() {
    for text in [
        "(\"a\" * 200000) | test(\"(a*)*b\")",
        "(\"a\" * 200000) | [match(\"a*?b|a\"; \"g\")] | length",
        "(\"a\" * 250000) | [scan(\".*[^a]|a\")] | length",
        "(\"ab\" * 100000) | gsub(\"(?<x>a)\"; .x + .x + .x) | gsub(\"a\"; \"aaaaaaaaaaaaaaaaaaaaaaaa\") | gsub(\"a\"; \"b\")",
    ] {
        assert_ne!(ends(text, &Value::Null), Err(Failure::Broken), "{text}");
    }
}

#[test]
fn products_of_text_alone_are_bounded() {
    let wide = ["(., .)"; 60].join(" | ");
    for text in [wide.clone(), format!("[{wide}]"), format!("{wide} | empty"), format!("first({wide} | select(false))")]
    {
        assert!(ends(&text, &Value::Null).is_err(), "{text}");
    }
    let tried = ["(.a?, .a?)"; 60].join(" | ");
    assert!(ends(&format!("[{tried}]"), &Value::Null).is_err());
}

#[test]
fn ordinary_recursion_is_not_ended() {
    let patient =
        Options { limits: Limits { time: Duration::from_secs(60), ..Limits::default() }, ..Options::default() };
    let down = "def f($n): if $n == 0 then 0 else 1 + f($n - 1) end; f(1000)";
    assert_eq!(ends_with(down, &Value::Null, &patient).unwrap().to_json(), "1000");
    assert_eq!(ends_with("[limit(20000; repeat(1))] | length", &Value::Null, &patient).unwrap().to_json(), "20000");
    assert_eq!(
        ends_with("[range(100000)] | map(. + 1) | add", &Value::Null, &patient).unwrap().to_json(),
        "5000050000"
    );
    assert_eq!(ends_with("0 | until(. >= 50000; . + 1)", &Value::Null, &patient).unwrap().to_json(), "50000");
    let wide = (0..500).map(|n| format!("m{n}: {n}")).collect::<Vec<_>>().join(", ");
    assert_eq!(ends_with(&format!("{{{wide}}} | length"), &Value::Null, &patient).unwrap().to_json(), "500");
    let list = (0..5000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    assert_eq!(ends_with(&format!("[{list}] | add"), &Value::Null, &patient).unwrap().to_json(), "12497500");
}

#[test]
fn a_program_of_any_shape_is_compiled_or_refused() {
    for text in [
        "(".repeat(60_000),
        "[".repeat(100_000),
        ".a".repeat(30_000),
        format!("1{}", "+1".repeat(30_000)),
        format!("1{}", "|1".repeat(30_000)),
        format!("1{}", "//1".repeat(20_000)),
        "-".repeat(60_000),
        format!("{}1", "-".repeat(60_000)),
        "try ".repeat(15_000) + "1",
        "if 1 then ".repeat(6_000) + "1" + &" end".repeat(6_000),
        "1 as $x | ".repeat(6_000) + "1",
        "def f: ".repeat(6_000) + "1",
        "reduce 1 as $x (1; ".repeat(100) + "1" + &")".repeat(100),
        format!("\"{}\"", "\\(1)".repeat(10_000)),
    ] {
        let start: String = text.chars().take(20).collect();
        if let Ok(program) = Program::compile(&text, &Options::default()) {
            let started = Instant::now();
            program.run_one(&Value::Null).ok();
            assert!(started.elapsed() < BOUND, "{start}");
        }
    }
}

/// Programs of what builds much out of little.
fn programs() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(".".to_owned()),
        Just("1".to_owned()),
        Just("\"ab\"".to_owned()),
        Just("[1, 2, 3]".to_owned()),
        Just("{a: 1}".to_owned()),
        Just(".[]?".to_owned()),
        Just(".a?".to_owned()),
        Just("empty".to_owned()),
        Just("error".to_owned()),
        Just("f".to_owned()),
        Just("g".to_owned()),
        Just("range(1e9)".to_owned()),
        Just("tojson".to_owned()),
    ];
    leaf.prop_recursive(6, 40, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| format!("({a} | {b})")),
            two.clone().prop_map(|(a, b)| format!("({a}, {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} // {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} + {b})?")),
            two.clone().prop_map(|(a, b)| format!("({a} * {b})?")),
            two.clone().prop_map(|(a, b)| format!("(try {a} catch {b})")),
            two.clone().prop_map(|(a, b)| format!("({a} as $x | {b})")),
            two.clone().prop_map(|(a, b)| format!("(if {a} then {b} else . end)")),
            two.clone().prop_map(|(a, b)| format!("({a} |= {b})?")),
            two.clone().prop_map(|(a, b)| format!("until({a}; {b})")),
            two.clone().prop_map(|(a, b)| format!("limit(1e9; {a} | {b})")),
            two.clone().prop_map(|(a, b)| format!("(def f: {a}; {b})")),
            two.clone().prop_map(|(a, b)| format!("(def g(f): {a}; g({b}))")),
            two.clone().prop_map(|(a, b)| format!("(reduce ({a}) as $x (.; {b}))")),
            two.prop_map(|(a, b)| format!("(foreach limit(1e9; {a}) as $x (.; {b}; [., .]))")),
            inner.clone().prop_map(|a| format!("[{a}]")),
            inner.clone().prop_map(|a| format!("{{a: {a}}}")),
            inner.clone().prop_map(|a| format!("repeat({a})")),
            inner.clone().prop_map(|a| format!("recurse({a})")),
            inner.clone().prop_map(|a| format!("[path({a})]")),
            inner.clone().prop_map(|a| format!("first({a})")),
            inner.clone().prop_map(|a| format!("last({a})")),
            inner.clone().prop_map(|a| format!("isempty({a})")),
            inner.clone().prop_map(|a| format!("walk({a})")),
            inner.prop_map(|a| format!("map({a})?")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Any program ends, and its result is JSON.
    #[test]
    fn every_program_ends(body in programs()) {
        let text = format!("def f: [., .]; def g: f; {body}");
        let program = Program::compile(&text, &short()).map_err(|faults| {
            TestCaseError::fail(format!("{text}: {faults:?}"))
        })?;
        let started = Instant::now();
        let result = program.run_one(&Value::array([Value::from(1_usize), Value::text("a")]));
        prop_assert!(started.elapsed() < BOUND, "{} ran for {:?}", text, started.elapsed());
        prop_assert!(result != Err(Failure::Broken), "{}", text);
        if let Ok(value) = result {
            let json = value.to_json();
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(), "{}", json);
        }
    }
}
