//! What programs give, what is refused at load, and what fails.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::event::{Event, Format};

fn options() -> Options {
    let clock = || "2026-03-01T12:00:00.5Z".parse::<Timestamp>().unwrap();
    Options { clock: Arc::new(clock), ids: Arc::new(Uuid::nil), ..Options::default() }
}

fn compiled(text: &str) -> Program {
    Program::compile(text, &options()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

fn faults(text: &str) -> Vec<Fault> {
    Program::compile(text, &options()).err().unwrap_or_default()
}

fn input(json: &str) -> Value {
    json::parse(json).unwrap()
}

fn all(text: &str, json: &str) -> Result<Vec<String>, Failure> {
    let results = compiled(text).run_all(&input(json), 100)?;
    Ok(results.iter().map(Value::to_json).collect())
}

fn one(text: &str, json: &str) -> String {
    match compiled(text).run_one(&input(json)) {
        Ok(result) => result.to_json(),
        Err(Failure::ErrorAt(message, _)) => format!("failed: {message}"),
        Err(failure) => format!("failed: {failure}"),
    }
}

#[test]
fn a_program_makes_a_body_of_an_event() {
    let text = r#"{ text: "Order \(.data.id): \(.data.cents / 100 | fixed(2)) EUR",
                    items: [.data.items[] | select(.ok) | {sku, qty}],
                    customer: (.data.customer | del(.email)) }"#;
    let event = r#"{"data": {"id": "o-1", "cents": 1205, "customer": {"name": "Ada", "email": "a@b"},
                    "items": [{"sku": "a", "qty": 1, "ok": true}, {"sku": "b", "qty": 2, "ok": false}]}}"#;
    let body = r#"{"text":"Order o-1: 12.05 EUR","items":[{"sku":"a","qty":1}],"customer":{"name":"Ada"}}"#;
    assert_eq!(one(text, event), body);
}

#[test]
fn numbers_that_are_passed_on_keep_their_digits() {
    let json =
        r#"{"price":1.10,"id":123456789012345678901234567890,"huge":1e+400,"small":-0.0,"exact":9007199254740993}"#;
    assert_eq!(one(".", json), json);
    assert_eq!(one("[.price, .huge, .id]", json), "[1.10,1e+400,123456789012345678901234567890]");
    assert_eq!(one(r#""\(.price) \(.id)""#, json), r#""1.10 123456789012345678901234567890""#);
    let long = format!("[{}]", "7".repeat(5000));
    assert_eq!(one(".", &long), long);
}

#[test]
fn the_functions_of_the_bridge() {
    for (text, json, expected) in [
        ("need(.a.b)", r#"{"a":{"b":false}}"#, "false"),
        ("need(.a.b)", r#"{"a":{}}"#, "failed: `.a.b` is missing from the event"),
        ("need(.customer.id)", r#"{"customer":{"id":null}}"#, "failed: `.customer.id` is missing from the event"),
        ("[.items[] | need(.sku)]", r#"{"items":[{"sku":1},{}]}"#, "failed: `.sku` is missing from the event"),
        ("need(.a[])", r#"{"a":[]}"#, "failed: `.a[]` is missing from the event"),
        ("need(.a) |= 2", r#"{"a":1}"#, r#"{"a":2}"#),
        ("fixed(2)", "1.005", r#""1.01""#),
        ("fixed(2)", "7", r#""7.00""#),
        ("fixed(0)", "-2.5", r#""-3""#),
        ("0.1 + 0.2 | fixed(2)", "null", r#""0.30""#),
        ("fixed(2)", r#""7""#, "failed: `fixed` takes a number, and the value is text"),
        ("fixed(-1)", "7", "failed: `fixed` takes a number of places from 0 to 28"),
        ("round(2)", "1.005", "1.01"),
        ("round", "1.5", "2"),
        ("format_time", "0", r#""1970-01-01T00:00:00Z""#),
        (r#"format_time("%d.%m.%Y %H:%M"; "Europe/Berlin")"#, r#""2026-03-01T12:00:00Z""#, r#""01.03.2026 13:00""#),
        (
            r#"format_time("%Y")"#,
            r#""soon""#,
            "failed: `format_time` takes RFC 3339 text, or seconds or milliseconds since 1970",
        ),
        ("sha256", r#""abc""#, r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#),
        (
            r#"hmac_sha256("Jefe")"#,
            r#""what do ya want for nothing?""#,
            r#""5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843""#,
        ),
        ("uuid", "null", r#""00000000-0000-0000-0000-000000000000""#),
        ("now", "null", "1772366400.5"),
    ] {
        assert_eq!(one(text, json), expected, "{text}");
    }
}

#[test]
fn base64_may_lack_its_padding() {
    for (text, expected) in [
        ("4pyTIMOgIGxhIG1vZGU", "\"✓ à la mode\""),
        ("4pyTIMOgIGxhIG1vZGU=", "\"✓ à la mode\""),
        ("YQ", "\"a\""),
        ("YQ=", "\"a\""),
        ("/w==", "\"\u{fffd}\""),
        ("", "\"\""),
    ] {
        assert_eq!(one("@base64d", &format!("\"{text}\"")), expected, "{text}");
    }
    assert!(one("@base64d", "\"a secret!\"").starts_with("failed: the text is not base64"));
}

/// What `jq` 1.6 gives, which its manual has no cases of.
#[test]
fn functions_beside_the_manual_give_what_they_give_in_jq() {
    for (text, json, expected) in [
        ("todate, (gmtime | todate)", "1425599621.9", r#"["2015-03-05T23:53:41Z","2015-03-05T23:53:41Z"]"#),
        ("dateadd(\"seconds\"; 10), datesub(\"seconds\"; 10)", "5", "[15,-5]"),
        ("leaf_paths", r#"{"a":[1,{}]}"#, r#"[["a",0]]"#),
        ("gamma", "1", "[0]"),
    ] {
        assert_eq!(one(&format!("[{text}]"), json), expected, "{text}");
    }
}

#[test]
fn integers_are_calculated_with_exactly() {
    assert_eq!(
        one("[. + 1, . * ., 7 / 2, 8 / 2]", "9007199254740993"),
        "[9007199254740994,81129638414606699710187514626049,3.5,4]"
    );
}

#[test]
fn a_program_gives_one_value_or_fails() {
    assert_eq!(one("empty", "null"), "failed: the program gives nothing; it must give one value");
    assert!(one("1, \"a\"", "null").contains("first a number, then text"));
    assert_eq!(one("error(\"no id\")", "null"), "failed: no id");
    assert_eq!(one("error", r#"{"secret":1}"#), "failed: the program ends with an error that is an object");
    assert_eq!(one("error(null)", "null"), "failed: the program ends with an error that is null");
    assert_eq!(one("error(\"é\" * 10000)", "null"), format!("failed: {}…", "é".repeat(500)));
    assert_eq!(one(".a.b", r#"{"a":[]}"#), "failed: an array has no member `b`");
    assert_eq!(one(".a + 1", r#"{"a":"secret"}"#), "failed: `+` is not for text and a number");
    let not_text = |text: &str| compiled(text).run_text(&Value::Null).unwrap_err().to_string();
    assert!(not_text(".a").contains("gives null, which cannot stand here; `// \"…\"` behind it"));
    assert!(not_text("[]").ends_with("gives an array, which cannot stand here; `tojson` makes text of it"));
    assert_eq!(all("range(3)", "null").unwrap(), ["0", "1", "2"]);
    assert_eq!(compiled("range(3)").run_all(&Value::Null, 2), Err(Failure::TooMany(2)));
}

#[test]
fn faults_have_their_place_and_advice() {
    let table = [
        ("{a: env.HOME}", "env", "environment"),
        ("$ENV.HOME", "$ENV", "environment"),
        ("[inputs]", "inputs", "one event"),
        ("input", "input", "one event"),
        ("import \"a\" as a; .", "", "modules"),
        ("include \"a\"; .", "", "modules"),
        (". | debug", "debug", "bridge eval"),
        ("debug(.x)", "debug", "bridge eval"),
        ("stderr", "stderr", "bridge eval"),
        ("input_filename", "input_filename", "path"),
        ("$__prog_args", "$__prog_args", "no arguments"),
        ("halt", "halt", "error("),
        ("halt_error", "halt_error", "error("),
        ("localtime", "localtime", "time zone"),
        ("{\n  a: slect(.b)\n}", "slect", "did you mean `select`?"),
        ("map(.a; .b)", "map", "divided by `;`"),
        ("data.id", "data", "`.data`"),
        ("'a'", "'", "double quotes"),
        (".a && .b", "&", "`and`"),
        ("{a: 1", "", ""),
        (".a | ", "", ""),
        ("test(\"(\")", "(", ""),
        (".t | format_time(\"%!\")", "%!", ""),
        (".a as $b | $c", "$c", "names a value"),
        (".data.order-number", "number", "hyphen"),
        (".a | upper", "upper", "`ascii_upcase`"),
        (".a | toUpperCase", "toUpperCase", "`ascii_upcase`"),
        ("default(.a; 1)", "default", "`.a // \"…\"`"),
    ];
    for (text, part, advice) in table {
        let found = faults(text);
        let Some(fault) = found.first() else { panic!("{text} has no fault") };
        assert_eq!(&text[fault.part.clone()], part, "{text}: {fault:?}");
        let help = fault.help.clone().unwrap_or_default();
        assert!(help.contains(advice), "{text}: {fault:?}");
    }
    let found = faults("{ a: foo1,\n  b: (.x | bar2) }");
    let places: Vec<_> = found.iter().map(|fault| (fault.line, fault.column)).collect();
    assert_eq!(places, [(1, 6), (2, 12)], "{found:?}");
}

#[test]
fn a_row_that_a_table_lacks_is_null_and_a_table_that_is_not_there_a_fault() {
    let tables = input(r#"{"tenants": {"acme": {"url": "https://acme.example"}}, "regions": {}}"#);
    let options = Options { variables: vec![("$tables".to_owned(), tables)], ..options() };
    let one = |text: &str, tenant: &str| {
        let program = Program::compile(text, &options).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        let event = input(&format!(r#"{{"data":{{"tenant":{tenant}}}}}"#));
        match program.run_one(&event) {
            Ok(result) => result.to_json(),
            Err(failure) => format!("failed: {failure}"),
        }
    };
    for (text, known, unknown) in [
        (r#"$tables.tenants[.data.tenant].url // "none""#, r#""https://acme.example""#, r#""none""#),
        (
            "$tables.tenants[.data.tenant] as $row | if $row then $row.url else null end",
            r#""https://acme.example""#,
            "null",
        ),
        (
            "need($tables.tenants[.data.tenant]).url",
            r#""https://acme.example""#,
            "failed: what `need` asks for is missing from the event (line 1, column 21 of the program)",
        ),
        (r#"$tables["regions"][.data.tenant] // 1"#, "1", "1"),
        // Names of the program's own.
        ("{a: 1} as $tables | $tables.a", "1", "1"),
        ("def f($tables): $tables.a; f({a: 1})", "1", "1"),
    ] {
        assert_eq!((one(text, "\"acme\""), one(text, "\"other\"")), (known.into(), unknown.into()), "{text}");
    }
    for (text, part, advice) in [
        ("$tables.tenant[.data.tenant]", "tenant", "did you mean `tenants`?"),
        ("{a: ($tables[\"x\"] // 1)}", "x", "there are tenants, regions"),
    ] {
        let faults = Program::compile(text, &options).err().unwrap_or_default();
        let Some(fault) = faults.first() else { panic!("{text} has no fault") };
        assert_eq!((&text[fault.part.clone()], fault.help.as_deref()), (part, Some(advice)), "{text}: {fault:?}");
    }
    let without = Options { variables: vec![("$tables".to_owned(), input("{}"))], ..options };
    let fault = Program::compile("$tables.tenants.a", &without).err().unwrap_or_default().remove(0);
    assert_eq!(fault.to_string(), "`$tables` has no `tenants` (line 1, column 9 of the program)");
    assert_eq!(fault.help.as_deref(), Some("add `[tables.tenants]` to the file"));
}

#[test]
fn an_error_is_told_with_its_place() {
    for (text, json, part, message) in [
        ("{a: .id,\n b: (.cents / 100)}", r#"{"cents": "x"}"#, ".cents", "(line 2, column 6 of the program)"),
        ("[.items[] | .price | fixed(2)]", r#"{"items": [{"price": 1}, {}]}"#, "fixed", "column 22"),
        (".a.b.c", r#"{"a": "text"}"#, ".a.b.c", "text has no member `b` (line 1, column 1"),
        (".[\"a b\"][0].c", r#"{"a b": [[1]]}"#, ".[\"a b\"][0].c", "column 1"),
        // What was caught is not the place.
        ("(try (.a / 2) catch 0) + (.b | .c)", r#"{"a": "x", "b": 1}"#, ".c", "a number has no member `c`"),
        (".a // 1 | . + {} | .b", r#"{"a": 1}"#, ".a", "`+`"),
        // In definitions, in paths, and in what is assigned.
        ("def half: .n / 2; .a | half", r#"{"a": {"n": []}}"#, ".n", "column 11"),
        ("del(.a) | .b |= (.c | ascii_upcase)", r#"{"b": {"c": 1}}"#, "ascii_upcase", "column 23"),
        (".a.b = 1", r#"{"a": 1}"#, ".a.b", "column 1"),
        ("reduce .a[] as $x (0; . + $x.n)", r#"{"a": [{"n": 1}, 2]}"#, "$x.n", "column 27"),
        ("error(\"no \\(.id)\")", r#"{"id": 7}"#, ".id", "no 7 (line 1, column 13"),
        ("need(.x)", "{}", ".x", "`.x` is missing from the event (line 1, column 6 of the program)"),
    ] {
        let failure = compiled(text).run_one(&input(json)).unwrap_err();
        let Failure::ErrorAt(_, place) = &failure else { panic!("{text}: {failure:?}") };
        assert_eq!(&text[place.part.clone()], part, "{text}: {failure}");
        assert!(failure.to_string().contains(message), "{text}: {failure}");
    }
}

/// Cases of jq's manual (jq 1.7), where the result there is the one given here.
#[test]
fn programs_give_what_they_give_in_jq() {
    let mut wrong = Vec::new();
    for (text, json, expected) in include_str!("manual.txt").split("\n\n").filter_map(|case| {
        let mut lines = case.lines().filter(|line| !line.starts_with('#'));
        Some((lines.next()?, lines.next()?, lines.collect::<Vec<_>>()))
    }) {
        let expected: Vec<_> = expected.iter().map(|line| input(line).to_json()).collect();
        let given = all(text, json).unwrap_or_else(|failure| vec![failure.to_string()]);
        if given != expected {
            wrong.push(format!("{text} of {json} gives {given:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn text_that_is_no_json_is_an_error() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for text in ["", "nul", "[1,]", "01", "1.", "'a'", "NaN", "[1]x", "\"\\ud83d\"", &deep(129)] {
        assert_eq!(json::parse(text).map(|value| value.to_json()), None, "{text}");
    }
    assert_eq!(json::parse(&deep(127)).unwrap().to_json(), deep(127));
    let reserved = r#"{"$serde_json::private::Number":"1"}"#;
    assert_eq!(json::parse(reserved).unwrap().to_json(), reserved);
}

#[test]
fn what_is_given_is_what_a_program_could_have_made() {
    let envelope =
        r#"{"id":"o\u007f","data":{"n":1.10,"big":123456789012345678901234567890,"a":[1,[2,{"b":null}],"x"]}}"#;
    let given = input(envelope);
    let made = compiled("walk(.)").run_one(&given).unwrap();
    assert_eq!((&given, given.to_json()), (&made, made.to_json()));
    assert!(given.size() >= made.size(), "what is given counts as no less than what is made");
    for text in [
        ".data.a[1][1]",
        ".data | keys, length, has(\"n\")",
        ".data.a[-1], .data.a[1:], .data.a[7]",
        "[.data.a[] | tojson]",
        "[paths]",
        ".data.a |= reverse",
        ".data.a[1][1].b = 1",
        "del(.data.a[0], .data.big)",
        ".data + {n: 2} | .a += [.n]",
        ".data * {a: {c: 1}}",
        "to_entries",
        "[.. | numbers]",
        ".data.a - [\"x\"]",
        "[.data.a | contains([[2]]), index(\"x\")]",
        ". == walk(.), ({} < .), (.data.a | unique)",
        "with_entries(.key |= ascii_upcase)",
        ". as {data: {a: [$x, [$y]]}} | [$x, $y]",
    ] {
        let results =
            |value: &Value| compiled(text).run_all(value, 100).unwrap().iter().map(Value::to_json).collect::<Vec<_>>();
        assert_eq!(results(&given), results(&made), "{text}");
    }
    assert_eq!(given.to_json(), made.to_json(), "no program changes what is given");
}

#[test]
fn an_envelope_has_the_digits_of_the_payload() {
    let payload = br#"{"price": 1.10, "huge": 1e400}"#;
    let event = Event {
        id: "orders/0/7".into(),
        time: Timestamp::UNIX_EPOCH,
        source: "orders".into(),
        key: None,
        headers: Vec::new(),
        meta: Vec::new(),
        payload: Some(bytes::Bytes::from_static(payload)),
        format: Format::Json,
        content_type: None,
    };
    let value = Value::of_json(Arc::new(event.envelope().unwrap()));
    let result = compiled("{id, data}").run_one(&value).unwrap();
    assert_eq!(result.to_json(), r#"{"id":"orders/0/7","data":{"price":1.10,"huge":1e+400}}"#);
    let lenient = Event { payload: Some(bytes::Bytes::from_static(br#"["\ud83d"]"#)), ..event.clone() };
    let value = Value::of_json(Arc::new(lenient.envelope().unwrap()));
    assert_eq!(value.member("data").unwrap().to_json(), "[\"\u{fffd}\"]");
}
