use proptest::prelude::*;
use serde_json::{Value, json};

use crate::template::{Context, Escape, RenderFault, Template};

fn data() -> Value {
    json!({
        "id": "o-1", "name": "Ada Lovelace", "note": null, "total": 12.5, "cents": 1999, "price": "10.10", "big": u64::MAX,
        "tags": ["a", 2, true], "nested": ["a", ["b"]], "type": "paid", "vip": true, "ok": false, "at": 1_700_000_000,
        "day": "01.03.2026 12:30", "nanos": 1_700_000_000_000_000_000_u64, "log": "GET /x 404",
        "customer": {"id": 7, "email": "a@b.c", "none": null},
    })
}

fn render(text: &str, data: Value) -> Result<String, RenderFault> {
    let template = Template::compile(text, Escape::Text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    template.render(&Context::new(json!({ "data": data }))).map_err(|failure| failure.fault)
}

#[test]
fn each_helper_gives_what_it_says() {
    for (text, expected) in [
        (r#"{{trim " a\n"}}|{{truncate data.name 3}}|{{truncate data.name 5 end="…"}}"#, "a|Ada|Ada …"),
        (
            r#"{{truncate data.name 12}}|{{truncate data.name 1 end="..."}}|{{truncate data.total 2}}"#,
            "Ada Lovelace|.|12",
        ),
        (r#"{{replace data.name "a" "é"}}|{{json (split "a,b,," ",")}}"#, r#"Adé Loveléce|["a","b","",""]"#),
        (
            r#"{{join data.tags}}|{{join data.tags ""}}|{{join (split data.name " ") "_"}}"#,
            "a, 2, true|a2true|Ada_Lovelace",
        ),
        (r#"{{xml "a<b"}}|{{sha256 "abc" encoding="base64"}}"#, "a&lt;b|ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
        (r#"{{truncate (hmac_sha256 data.id "k") 8}}"#, "475981ca"),
        (r#"{{capture data.log "(\\d+)"}}|{{capture data.log "^\\w+"}}"#, "404|GET"),
        (r#"{{capture data.log "(?<way>/\\w*) (\\d+)" "way"}}|{{capture data.log "(\\S+) (\\S+)" 2}}"#, "/x|/x"),
        (r#"{{default (capture data.log "nothing") "none"}}"#, "none"),
        (
            "{{add 0.1 0.2}}|{{sub 1 0.9}}|{{mul 1.1 1.1}}|{{div 1999 100}}|{{add data.price 1}}",
            "0.3|0.1|1.21|19.99|11.1",
        ),
        (
            "{{add 1 2 3}}|{{mul 2 3 4}}|{{div 6 2}}|{{add data.cents -1999}}|{{sub data.big 1}}",
            "6|24|3|0|18446744073709551614",
        ),
        (
            "{{round 2.5}}|{{round -2.5}}|{{round 1.005 2}}|{{round 3}}|{{fixed 3 2}}|{{fixed data.price 1}}",
            "3|-3|1.01|3|3.00|10.1",
        ),
        ("{{fixed (div data.cents 100) 2}} EUR", "19.99 EUR"),
        (r#"{{switch data.type "open" "x" "paid" "yes" "no"}}|{{switch data.type "open" "x" "no"}}"#, "yes|no"),
        (r#"{{switch data.vip true data.total 0}}|{{default (switch data.type "a" "b") "none"}}"#, "12.5|none"),
        (
            r#"{{json (pick data.customer "none" "x" "id")}}|{{json (omit data.customer "id")}}"#,
            r#"{"none":null,"id":7}|{"email":"a@b.c","none":null}"#,
        ),
        (
            r#"{{has data.customer "none"}} {{has data.customer "x"}} {{has data.x "y"}} {{has data.note "y"}}"#,
            "true false false false",
        ),
        ("{{join (keys data.customer)}}", "id, email, none"),
        (
            r#"{{format_time data.nanos unit="ns"}}|{{format_time data.at plus="-1 day" tz="Europe/Berlin"}}"#,
            "2023-11-14T22:13:20Z|2023-11-13T23:13:20+01:00",
        ),
        (
            r#"{{format_time data.day "%F" parse="%d.%m.%Y %H:%M"}}|{{format_time data.at "%s" plus="1h"}}"#,
            "2026-03-01|1700003600",
        ),
    ] {
        assert_eq!(render(text, data()).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_a_helper_cannot_use_is_named_with_its_type() {
    for (text, expected) in [
        (
            "{{fixed data.name 2}}",
            "`fixed` takes a number of at most 28 digits, or text that is one, and `data.name` is other text",
        ),
        ("{{add 1 data.tags}}", "and `data.tags` is an array"),
        ("{{add 1 data.note}}", "and `data.note` is null"),
        ("{{round 1 data.total}}", "a whole number that is not negative, and `data.total` is another number"),
        ("{{fixed 1 29}}", "digits from 0 to 28"),
        ("{{div data.total (sub 1 1)}}", "`div` divides by `sub 1 1`, which is 0"),
        ("{{mul data.big data.big data.big}}", "`mul` gives a number of too many digits"),
        ("{{mul data.big data.big}}", "`mul` gives a number of too many digits"),
        ("{{trim data.note}}", "`data.note` is null"),
        ("{{truncate data.customer 5}}", "`data.customer` is an object or an array"),
        ("{{truncate data.name -1}}", "not negative"),
        (r#"{{replace data.name "" "x"}}"#, "`replace` takes text that is not empty"),
        (r#"{{json (split data.name "")}}"#, "`split` takes text that is not empty"),
        ("{{join data.name}}", "`join` takes an array, and `data.name` is text"),
        ("{{join data.nested}}", "`data.nested` is another array"),
        ("{{join (keys data.tags)}}", "`keys` takes an object, and `data.tags` is an array"),
        (r#"{{json (pick data.tags "a")}}"#, "`pick` takes an object"),
        (r#"{{json (omit data.customer 1)}}"#, "text as the name of a member, and `1` is a number"),
        (r#"{{has data.tags "a"}}"#, "`has` takes an object"),
        (r#"{{capture data.log "(z)"}}"#, "`capture data.log \"(z)\"` finds nothing"),
        (r#"{{switch data.type "a" "b"}}"#, "finds nothing"),
        (r#"{{switch data.missing "a" "b"}}"#, "`data.missing` is missing"),
        (r#"{{sha256 data.id encoding=data.type}}"#, "as `encoding`"),
        (r#"{{format_time data.day unit="s"}}"#, "a number since 1970, or RFC 3339 text, and `data.day` is other text"),
        (r#"{{format_time data.at parse="%F"}}"#, "text in the format that `parse` gives, and `data.at` is a number"),
        (r#"{{format_time data.at plus=data.name}}"#, "as `plus`"),
    ] {
        let fault = render(text, data()).expect_err(text).to_string();
        assert!(fault.contains(expected), "{text}: {fault}");
    }
}

#[test]
fn literals_that_no_event_could_mend_are_refused_at_load() {
    for (text, expected) in [
        (r#"{{capture data.log "("}}"#, "not a regular expression: unclosed group"),
        (r#"{{capture data.log data.type}}"#, "its regular expression as a literal"),
        (r#"{{capture data.log "(x)" 2}}"#, "no group 2"),
        (r#"{{capture data.log "(x)" "y"}}"#, "no group \"y\""),
        (r#"{{format_time data.at unit="min"}}"#, "\"min\" is not a unit"),
        (r#"{{format_time data.at plus="soon"}}"#, "\"soon\" is not a span"),
        (r#"{{format_time data.at parse="%K"}}"#, "\"%K\" is not a strptime format"),
        (r#"{{sha256 data.at encoding="octal"}}"#, "\"octal\" is not an encoding"),
        (r#"{{switch data.type "a"}}"#, "`switch` takes 3 or more values"),
    ] {
        let faults = Template::compile(text, Escape::Text).expect_err(text);
        assert!(faults.iter().any(|fault| fault.message.contains(expected)), "{text}: {faults:?}");
    }
}

#[test]
fn what_the_environment_brings_into_a_pattern_matches_itself() {
    let text = serde_json::from_value(json!([r#"{{capture data.log "("#, "4.4", r#")"}}"#])).unwrap();
    let text: crate::interpolated::InterpolatedText = text;
    let template = Template::compile(&text, Escape::Text).unwrap();
    let rendered = |log: &str| template.render(&Context::new(json!({"data": {"log": log}})));
    assert_eq!(rendered("a 4.4").as_deref(), Ok("4.4"));
    assert!(rendered("a 404").is_err());
}

proptest! {
    /// No value makes a helper panic, and what is cut is never longer than was asked for.
    #[test]
    fn any_text_is_cut_to_its_length(text in "\\PC{0,12}", most in 0_usize..8, end in "\\PC{0,3}") {
        let template = Template::compile("{{truncate data.text data.most end=data.end}}", Escape::Text).unwrap();
        let cut = template.render(&Context::new(json!({"data": {"text": text, "most": most, "end": end}}))).unwrap();
        prop_assert!(cut.chars().count() <= most);
        if text.chars().count() <= most {
            prop_assert_eq!(cut, text);
        }
    }
}
