use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn order() -> Value {
    json!({
        "id": "orders/3/1042", "time": "2026-03-01T12:00:00Z", "source": "orders", "key": null,
        "headers": {"trace-id": "b"}, "meta": {"topic": "orders", "offset": 7},
        "data": {
            "id": "o-1", "total": 12.5, "count": 3, "vip": false, "note": null, "empty": [], "region": "eu west/1",
            "quote": "a \"b\" \\ c\nd\u{2028}e", "crlf": "x\r\nSet-Cookie: a=b", "name": "Größe", "at": 1_700_000_000,
            "customer": {"id": "c/7", "tags": ["x", "y"]}, "key": "tags",
            "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}],
        },
    })
}

fn options() -> Options {
    Options {
        clock: Arc::new(|| "2026-03-01T23:30:00.25Z".parse().unwrap()),
        ids: Arc::new(|| Uuid::from_u128(7)),
        max_output: 1000,
        ..Options::default()
    }
}

fn render(text: &str, escape: Escape) -> Result<String, RenderFailure> {
    let template = Template::compile_with(text, escape, &options());
    template.unwrap_or_else(|error| panic!("{text}: {error:?}")).render(&Context::new(order()))
}

fn rendered(text: &str, escape: Escape) -> String {
    render(text, escape).unwrap_or_else(|failure| panic!("{text}: {failure}"))
}

fn fault(text: &str, escape: Escape) -> RenderFault {
    render(text, escape).expect_err(text).fault
}

/// The only fault of a template.
fn refusal(text: &str, escape: Escape) -> TemplateError {
    let mut faults = Template::compile(text, escape).expect_err(text);
    assert_eq!(faults.len(), 1, "{text}: {faults:?}");
    faults.remove(0)
}

#[test]
fn a_value_is_escaped_for_its_place() {
    use Escape::{Header, Json, Text, Url};
    let table = [
        (r#"{"q": "{{data.quote}}"}"#, Json, "{\"q\": \"a \\\"b\\\" \\\\ c\\nd\u{2028}e\"}"),
        ("{{data.total}} {{data.count}} {{data.vip}} {{data.note}}", Json, "12.5 3 false null"),
        ("{{data.customer}} {{data.empty}}", Json, r#"{"id":"c/7","tags":["x","y"]} []"#),
        ("{{{data.quote}}}", Json, "a \"b\" \\ c\nd\u{2028}e"),
        ("{{&data.quote}}", Json, "a \"b\" \\ c\nd\u{2028}e"),
        ("https://x/{{data.region}}?n={{data.name}}", Url, "https://x/eu%20west%2F1?n=Gr%C3%B6%C3%9Fe"),
        ("/{{json data.customer.tags}}", Url, "/%5B%22x%22%2C%22y%22%5D"),
        ("/{{{data.region}}}", Url, "/eu west/1"),
        ("{{data.total}} {{data.id}} {{headers.trace-id}}", Header, "12.5 o-1 b"),
        ("{{json data.customer}}", Header, r#"{"id":"c/7","tags":["x","y"]}"#),
        (
            "<{{data.quote}}|{{json data.note}}|{{json data.customer}}>",
            Text,
            "<a \"b\" \\ c\nd\u{2028}e|null|{\"id\":\"c/7\",\"tags\":[\"x\",\"y\"]}>",
        ),
        ("{{data.customer.tags.[0]}} {{data.customer.tags.1}}", Text, "x y"),
        (r"\{{data.id}} {{! nothing }}{{data.id}}", Text, "{{data.id}} o-1"),
    ];
    for (text, escape, expected) in table {
        assert_eq!(rendered(text, escape), expected, "{text}");
    }
}

#[test]
fn a_missing_value_fails_with_its_name_and_place() {
    let failure = render("{\n  \"x\": {{data.nothing}}}", Escape::Json).unwrap_err();
    assert_eq!(failure.fault, RenderFault::Missing("data.nothing".into()));
    assert_eq!(failure.place, Some((2, 8)));
    assert_eq!(failure.to_string(), "`data.nothing` is missing from the event (line 2, column 8 of the template)");
    let missing = [
        ("{{{data.nothing}}}", "data.nothing"),
        ("{{data.id.deeper}}", "data.id.deeper"),
        ("{{data.items.[9].sku}}", "data.items.[9].sku"),
        ("{{json data.nothing}}", "data.nothing"),
        ("{{upper data.nothing}}", "data.nothing"),
        ("{{base64 (lower data.nothing)}}", "data.nothing"),
        ("{{lookup data.customer data.nothing}}", "data.nothing"),
        ("{{#each data.items}}{{price}}{{/each}}", "price"),
        ("{{#each data.items}}{{data.id}}{{/each}}", "data.id"),
        ("{{#with data}}{{../data.nothing}}{{/with}}", "../data.nothing"),
        ("{{#if data.id}}{{@root.data.nothing}}{{/if}}", "@root.data.nothing"),
    ];
    for (text, name) in missing {
        for escape in [Escape::Json, Escape::Url, Escape::Header, Escape::Text] {
            assert_eq!(fault(text, escape), RenderFault::Missing(name.into()), "{text} {escape:?}");
        }
    }
    for (text, name) in [
        ("{{lookup data.customer \"nothing\"}}", "lookup data.customer \"nothing\""),
        ("{{upper (lookup data.customer \"nothing\")}}", "lookup data.customer \"nothing\""),
        ("{{jsonpath \"$.data.nothing\"}}", "jsonpath \"$.data.nothing\""),
        ("{{default data.nothing data.neither}}", "default data.nothing data.neither"),
        ("{{upper (default data.x (lower (lookup data.customer 'y')))}}", "lookup data.customer \"y\""),
    ] {
        assert_eq!(fault(text, Escape::Text), RenderFault::NothingFound(name.into()), "{text}");
    }
}

#[test]
fn asking_for_a_missing_value_is_no_failure() {
    let table = [
        ("{{#if data.nothing}}yes{{else}}no{{/if}}", "no"),
        ("{{#if data.nothing}}yes{{else if data.id}}{{data.id}}{{else}}no{{/if}}", "o-1"),
        ("{{#unless data.nothing}}no{{/unless}}", "no"),
        ("{{#each data.nothing}}x{{/each}}.", "."),
        ("{{#each data.nothing}}x{{else}}none{{/each}}", "none"),
        ("{{#with data.nothing}}x{{/with}}.", "."),
        ("{{default data.nothing \"y\"}}", "y"),
        ("{{default data.note data.nothing 3}}", "3"),
        ("{{default data.id \"y\"}} {{default data.vip true}}", "o-1 false"),
        ("{{default (lookup data.customer \"nothing\") (jsonpath \"$.data.none\") \"z\"}}", "z"),
        ("{{#if (eq data.nothing \"a\")}}x{{/if}}{{#if (not data.nothing)}}n{{/if}}", "n"),
        ("{{#if (and data.id data.nothing)}}x{{else}}o{{/if}}{{#if (or data.id data.nothing)}}x{{/if}}", "ox"),
        ("{{#if (default data.nothing data.neither)}}x{{else}}n{{/if}}", "n"),
    ];
    for (text, expected) in table {
        assert_eq!(rendered(text, Escape::Text), expected, "{text}");
    }
}

#[test]
fn each_over_what_is_no_list_is_a_failure() {
    for (text, name, found) in [
        ("{{#each data.id}}x{{/each}}", "data.id", "text"),
        ("{{#each data.total}}x{{else}}none{{/each}}", "data.total", "a number"),
        ("{{#each data.vip}}x{{/each}}", "data.vip", "`true` or `false`"),
        ("{{#each data.items as |item|}}{{#each item.sku}}x{{/each}}{{/each}}", "item.sku", "text"),
        ("{{#if data.nothing}}x{{else each data.id}}x{{/if}}", "data.id", "text"),
        ("{{#each (jsonpath '$.data.id')}}x{{/each}}", "jsonpath \"$.data.id\"", "text"),
    ] {
        let (helper, expected) = ("each".into(), "an array or an object");
        assert_eq!(
            fault(text, Escape::Text),
            RenderFault::WrongValue { helper, name: name.into(), expected, found },
            "{text}"
        );
    }
    let failure = render("{\n\"a\": [{{#each data.id}}x{{/each}}]}", Escape::Json).unwrap_err();
    let expected = "`each` takes an array or an object, and `data.id` is text (line 2, column 7 of the template)";
    assert_eq!(failure.to_string(), expected);
    for (text, expected) in [
        ("{{#each (query '$.data.none[*]')}}x{{else}}none{{/each}}", "none"),
        ("{{#each data.note}}x{{else}}none{{/each}}", "none"),
        ("{{#if data.nothing}}x{{else each data.items}}{{sku}}{{/if}}", "ab"),
        (
            "{{#each data.items}}{{#each ../data.customer.tags as |tag|}}{{tag}}{{@../index}}{{/each}}{{/each}}",
            "x0y0x1y1",
        ),
    ] {
        assert_eq!(rendered(text, Escape::Text), expected, "{text}");
    }
}

#[test]
fn blocks_repeat_and_choose() {
    let list = r#"[{{#each data.items}}{"sku":"{{sku}}","i":{{@index}}}{{#unless @last}},{{/unless}}{{/each}}]"#;
    assert_eq!(rendered(list, Escape::Json), r#"[{"sku":"a","i":0},{"sku":"b","i":1}]"#);
    let table = [
        ("{{#each data.items as |item|}}{{item.sku}}{{@root.data.id}}{{/each}}", "ao-1bo-1"),
        ("{{#each data.customer}}{{@key}}={{json this}};{{/each}}", r#"id="c/7";tags=["x","y"];"#),
        ("{{#each (lookup data.customer \"tags\")}}{{this}}{{/each}}", "xy"),
        ("{{#with data.customer}}{{id}} {{../id}}{{/with}}", "c/7 orders/3/1042"),
        ("{{#eq data.id \"o-1\"}}y{{else}}n{{/eq}}", "y"),
        ("{{#if (gt data.total 12)}}big{{/if}} {{eq data.count 3}}", "big true"),
        ("{{{{raw}}}}{{data.id}}{{{{/raw}}}}", "{{data.id}}"),
        ("{{#if true}}a{{~/if~}}  b", "ab"),
    ];
    for (text, expected) in table {
        assert_eq!(rendered(text, Escape::Text), expected, "{text}");
    }
}

#[test]
fn a_helper_gives_a_value_that_is_escaped_where_it_is_used() {
    use Escape::{Header, Json, Text, Url};
    let table = [
        (r#"{"q":{{json data.quote}}}"#, Json, "{\"q\":\"a \\\"b\\\" \\\\ c\\nd\u{2028}e\"}"),
        (
            "{{json data.note}} {{json data.total}} {{json data.items}}",
            Json,
            r#"null 12.5 [{"sku":"a","n":1},{"sku":"b","n":2}]"#,
        ),
        ("\"{{upper data.quote}}\"", Json, "\"A \\\"B\\\" \\\\ C\\nD\u{2028}E\""),
        ("{{(json data.id)}} {{{json data.id}}}", Json, r#""o-1" "o-1""#),
        ("/{{json data.customer.tags}}", Url, "/%5B%22x%22%2C%22y%22%5D"),
        ("/{{url_encode data.region}}", Url, "/eu%20west%2F1"),
        ("{{url_encode data.region}}", Text, "eu%20west%2F1"),
        ("/{{upper data.region}}", Url, "/EU%20WEST%2F1"),
        ("{{lower data.name}} {{upper data.name}}", Text, "größe GRÖSSE"),
        ("{{upper data.total}} {{upper data.vip}}", Text, "12.5 FALSE"),
        ("{{base64 data.name}} {{base64 (json data.customer.tags)}}", Text, "R3LDtsOfZQ== WyJ4IiwieSJd"),
        ("{{base64 data.crlf}}", Header, "eA0KU2V0LUNvb2tpZTogYT1i"),
        ("{{now}} {{now \"%Y/%m/%d\"}}", Text, "2026-03-01T23:30:00.25Z 2026/03/01"),
        ("{{now \"%d\" tz=\"Asia/Tokyo\"}} {{now tz=\"Asia/Tokyo\"}}", Text, "02 2026-03-02T08:30:00.25+09:00"),
        ("{{uuid}}", Text, "00000000-0000-0000-0000-000000000007"),
        ("{{format_time time \"%A\"}}", Text, "Sunday"),
        ("{{format_time data.at \"%F %T\"}}", Text, "2023-11-14 22:13:20"),
        ("{{format_time 1700000000123 \"%T%.3f\"}} {{format_time 1.5 \"%T%.f\"}}", Text, "22:13:20.123 00:00:01.5"),
        ("{{format_time time \"%H:%M %Z\" tz=\"America/New_York\"}}", Text, "07:00 EST"),
        ("{{lookup data.customer data.key}}", Json, r#"["x","y"]"#),
        ("{{lookup data.items 1}}", Json, r#"{"sku":"b","n":2}"#),
        ("{{jsonpath \"$.data.items[0].sku\"}}", Json, "\"a\""),
        ("{{json (jsonpath '$.data.items[?@.n > 1].sku')}}", Json, r#""b""#),
        ("{{jsonpath \"$.data.items[*].sku\"}}", Json, r#"["a","b"]"#),
        ("{{#each (jsonpath \"$.data.items[*].sku\")}}{{this}};{{/each}}", Text, "a;b;"),
        ("{{upper (default data.nothing (lower \"Ab\"))}}", Text, "AB"),
    ];
    for (text, escape, expected) in table {
        assert_eq!(rendered(text, escape), expected, "{text}");
    }
}

#[test]
fn a_helper_refuses_what_it_cannot_use() {
    let null = RenderFault::Null("data.note".into());
    for text in ["{{upper data.note}}", "{{base64 data.note}}", "{{url_encode data.note}}"] {
        assert_eq!(fault(text, Escape::Text), null, "{text}");
    }
    for text in [
        "{{format_time data.id \"%F\"}}",
        "{{format_time data.vip \"%F\"}}",
        "{{format_time 1E300 \"%F\"}}",
        "{{format_time 99999999999999999 \"%F\"}}",
        "{{now tz=data.id}}",
        "{{now tz=data.total}}",
    ] {
        assert!(matches!(fault(text, Escape::Text), RenderFault::WrongValue { .. }), "{text}");
    }
    assert!(matches!(fault("{{#if data.items.name}}x{{/if}}", Escape::Text), RenderFault::Other(_)));
    let error = fault("{{format_time data.id \"%F\"}}", Escape::Text).to_string();
    assert!(error.contains("`data.id`") && !error.contains("o-1"), "{error}");
}

#[test]
fn a_number_that_is_passed_on_keeps_its_digits() {
    const NUMBERS: &str =
        r#"{"a":1.10,"b":123456789012345678901234567890,"c":1e+2,"d":-0.0,"e":1e+400,"f":0.1000000000000000055}"#;
    let context = Context::new(serde_json::from_str(&format!("{{\"data\":{NUMBERS}}}")).unwrap());
    let render = |text: &str| Template::compile(text, Escape::Json).unwrap().render(&context).unwrap();
    assert_eq!(render("{{json data}}"), NUMBERS);
    assert_eq!(render("{{data}}"), NUMBERS);
    assert_eq!(
        render("{{data.a}} \"{{data.b}}\" {{json data.c}} {{omit data \"a\" \"b\" \"c\" \"d\" \"f\"}}"),
        r#"1.10 "123456789012345678901234567890" 1e+2 {"e":1e+400}"#
    );
    assert_eq!(render("{{add data.a 0}} {{#if (eq data.a 1.1)}}equal{{/if}}"), "1.1 equal");
}

#[test]
fn a_value_cannot_leave_its_header() {
    for text in ["{{data.crlf}}", "{{{data.crlf}}}", "{{upper data.crlf}}", "{{data.name}}", "{{data.quote}}"] {
        assert!(matches!(fault(text, Escape::Header), RenderFault::NotHeaderText(_)), "{text}");
    }
    assert_eq!(fault("{{data.note}}", Escape::Header), RenderFault::Null("data.note".into()));
    // Within JSON, a line break is escaped and cannot do harm.
    assert_eq!(rendered("{{json data.crlf}}", Escape::Header), r#""x\r\nSet-Cookie: a=b""#);
    assert!(refusal("a\nb: {{data.id}}", Escape::Header).message.contains("cannot carry"));
}

#[test]
fn a_value_cannot_leave_its_url_segment() {
    let render = |text: &str, value: &str| {
        let envelope = json!({"data": {"v": value}});
        Template::compile(text, Escape::Url).unwrap().render(&Context::new(envelope))
    };
    assert_eq!(
        render("https://x/{{data.v}}/y", "a/../b?c#d&e=%2e").unwrap(),
        "https://x/a%2F..%2Fb%3Fc%23d%26e%3D%252e/y"
    );
    assert_eq!(render("/{{data.v}}", "\\..\\").unwrap(), "/%5C..%5C");
    assert_eq!(render("/a?b={{data.v}}", "..").unwrap(), "/a?b=..");
    assert_eq!(render("/v{{data.v}}", "..").unwrap(), "/v..");
    for (text, value) in
        [("/a/{{data.v}}/b", ".."), ("/{{data.v}}", "."), ("/{{data.v}}{{data.v}}", "."), ("/.{{data.v}}?x", ".")]
    {
        assert_eq!(render(text, value).unwrap_err().fault, RenderFault::DotSegment, "{text}");
    }
    assert_eq!(fault("/{{data.note}}", Escape::Url), RenderFault::Null("data.note".into()));
    assert!(refusal("/a/../{{data.id}}", Escape::Url).message.contains("another path"));
    assert!(Template::compile("/a{{data.id}}?b=/../", Escape::Url).is_ok());
}

#[test]
fn the_output_is_bounded() {
    let text = "{{#each data.items}}{{#each @root.data.items}}{{json @root.data}}{{/each}}{{/each}}";
    assert_eq!(fault(text, Escape::Json), RenderFault::TooLarge(1000));
}

#[test]
fn a_text_without_expressions_needs_no_event() {
    let literal = |text: &str| Template::compile(text, Escape::Text).unwrap().literal().map(str::to_owned);
    assert_eq!(literal("https://x/y").as_deref(), Some("https://x/y"));
    assert_eq!(literal("").as_deref(), Some(""));
    assert_eq!(literal(r"a{{! note }} \{{b}}").as_deref(), Some("a {{b}}"));
    assert_eq!(literal("{{id}}"), None);
    assert_eq!(literal("{{#if true}}a{{/if}}"), None);
    assert_eq!(rendered("https://x/y", Escape::Url), "https://x/y");
}

#[test]
fn what_could_never_render_is_refused_at_load() {
    let table = [
        ("{{uper data.id}}", "no helper `uper`", "did you mean `upper`?"),
        ("{{foo data.id}}", "no helper `foo`", ""),
        ("{{json (uper data.id)}}", "no helper `uper`", "did you mean `upper`?"),
        ("{{#if (foo data.id)}}x{{/if}}", "no helper `foo`", ""),
        ("{{#ech data.items}}x{{/ech}}", "no helper `ech`", "did you mean `each`?"),
        ("{{#items}}x{{/items}}", "no helper `items`", "{{#each items}}"),
        ("{{#if data.id}}{{#each data.items}}{{uper sku}}{{/each}}{{/if}}", "no helper `uper`", ""),
        ("{{#if data.id}}a{{else if (foo 1)}}b{{else}}c{{/if}}", "no helper `foo`", ""),
        ("{{#if data.id}}a{{else}}{{bar 1}}{{/if}}", "no helper `bar`", ""),
        ("{{log data.id}}", "no helper `log`", ""),
        ("{{> footer}}", "partials such as `footer`", ""),
        ("{{#> footer}}x{{/footer}}", "partials such as `footer`", ""),
        ("{{#*inline \"x\"}}y{{/inline}}", "decorators such as `inline`", ""),
        ("{{*foo}}", "decorators such as `foo`", ""),
        ("{{dta.id}}", "`dta` is neither", "did you mean `data`?"),
        ("{{customer.id}}", "`customer` is neither", "`data.customer.id`"),
        ("{{#if customer}}x{{/if}}", "`customer` is neither", "`data.customer`"),
        ("{{default customer 1}}", "`customer` is neither", ""),
        ("{{@index}}", "`@index` is known only", ""),
        ("{{#each data.items}}{{@indx}}{{/each}}", "there is no `@indx`", "@index"),
        ("{{json @root}}", "`@root` cannot stand alone", "`this`"),
        ("{{upper}}", "`upper` takes one value, and is given 0", ""),
        ("{{upper data.id data.key}}", "`upper` takes one value, and is given 2", ""),
        ("{{default data.id}}", "`default` takes 2 or more values", ""),
        ("{{uuid 4}}", "`uuid` takes no value", ""),
        ("{{format_time}}", "`format_time` takes 1 to 2 values", ""),
        ("{{#if}}x{{/if}}", "`if` takes one value", ""),
        ("{{upper data.id x=1}}", "no value named `x`", ""),
        ("{{now zone=\"UTC\"}}", "no value named `zone`", "tz"),
        ("{{now tz=\"Mars/Base\"}}", "is not a time zone", "Europe/Berlin"),
        ("{{now \"%K\"}}", "is not a strftime format", ""),
        ("{{format_time time data.id}}", "its format as a literal", "quotes"),
        ("{{jsonpath data.id}}", "its query as a literal", "quotes"),
        ("{{jsonpath \"data.id\"}}", "is not a JSONPath query", "$.data"),
        ("{{#upper data.id}}x{{/upper}}", "`upper` is not a block", ""),
        ("{{if data.id}}", "`if` is a block", "{{#if"),
        ("{{upper (each data.id)}}", "`each` is a block", ""),
    ];
    for (text, message, help) in table {
        for escape in [Escape::Json, Escape::Url, Escape::Header, Escape::Text] {
            let error = refusal(text, escape);
            assert!(error.message.contains(message), "{text}: {error}");
            assert!(error.help.unwrap_or_default().contains(help), "{text}");
        }
    }
}

#[test]
fn a_refusal_points_at_its_place() {
    let text = "{\"größe\": 1,\n  \"ä\": \"{{ uper data.id }}\"}";
    let error = refusal(text, Escape::Json);
    assert_eq!((error.line, error.column), (2, 12));
    assert_eq!(&text[error.part], "uper");
    for (text, message, line) in [
        ("\n{{#if data.id}}\na{{else if (foo 1)}}b{{/if}}", "no helper `foo`", 3),
        ("a\n{{data.id", "not closed", 2),
        ("a\n{{#if data.id}}x\ny", "the block `if` is not closed", 2),
        ("{{#if data.id}}x{{/each}}", "`if` is closed as `each`", 1),
        ("a\n\n{{}} b", "nothing between the braces", 3),
        ("{{data..id}} b", "not a Handlebars expression", 1),
    ] {
        let error = refusal(text, Escape::Text);
        assert!(error.message.contains(message), "{text}: {error:?}");
        assert_eq!(error.line, line, "{text}: {error:?}");
        assert!(text.get(error.part.clone()).is_some(), "{text}: {error:?}");
    }
}

#[test]
fn a_hostile_depth_is_refused_without_overflowing_the_stack() {
    for levels in [100, 1000, 50_000] {
        for text in [
            "{{#if data.id}}".repeat(levels),
            format!("{}x{}", "{{~ #if data.id}}".repeat(levels), "{{/if}}".repeat(levels)),
            format!("{{{{#if data.id}}}}a{}{{{{/if}}}}", "{{else if data.id}}a".repeat(levels)),
            format!("{{{{upper {}data.id{}}}}}", "(lower ".repeat(levels), ")".repeat(levels)),
            format!("{{{{json {}1{}}}}}", "[".repeat(levels), "]".repeat(levels)),
            "{{#*inline \"a\"}}".repeat(levels),
            "{{#> a}}".repeat(levels),
            "{{{{raw}}}}".repeat(levels),
            format!("{{{{upper{}", " (a".repeat(levels)),
            // What looks like the end of a block or of a parenthesis and is none.
            r#"{{#if data.id}}{{upper "{{/if}}"}}"#.repeat(levels),
            r#"{{#if data.id}}{{upper "' "  '}} {{/if}} '}}"#.repeat(levels),
            "{{#if data.id}}{{!-- }} {{/if}} --}}".repeat(levels),
            "{{#if data.id}}{{! {{/if}}".repeat(levels),
            r"{{#if data.id}}\{{/if}}".repeat(levels),
            "{{#if data.id}}{{{{raw}}}}{{/if}}{{{{/raw}}}}".repeat(levels),
            "{{#if data.id}}{{data.[}}{{/if}}]}}".repeat(levels),
            r#"{{#if data.id}}{{json ["]}} {{/if}} "]}}"#.repeat(levels),
            format!("{{{{upper {}", r#"(lower ")" "#.repeat(levels)),
            format!(r#"{{{{upper "}}}}" {}"#, "(lower ".repeat(levels)),
        ] {
            assert!(Template::compile(&text, Escape::Json).is_err());
        }
    }
    let many = "{{#if (eq data.id \"it's\")}}x{{else}}{{/if}}{{data.[id]}}{{lookup data.[items] 0}}{{! it's }}";
    assert!(Template::compile(&many.repeat(500), Escape::Json).is_ok(), "blocks side by side are not deep");
    let deepest = format!("{}x{}", "{{#if data.id}}".repeat(60), "{{/if}}".repeat(60));
    assert_eq!(rendered(&deepest, Escape::Text), "x");
    let one = "{{#each (query \"$.data.id\")}}";
    let lists = format!("{}x{}", one.repeat(60), "{{/each}}".repeat(60));
    assert_eq!(rendered(&lists, Escape::Text), "x");
    let calls = format!("{{{{upper {}data.id{}}}}}", "(lower ".repeat(60), ")".repeat(60));
    assert_eq!(rendered(&calls, Escape::Text), "O-1");
}

#[test]
fn only_json_outside_of_quotes_takes_more_than_scalars() {
    use Escape::{Csv, Form, Header, Json, JsonLines, Key, Text, Tsv, Url, Xml};
    let not_scalar = RenderFault::NotScalar("data.customer".into());
    let null = RenderFault::Null("data.note".into());
    for escape in [Url, Header, Xml, Form, Csv, Tsv, Text, Key] {
        assert_eq!(fault("{{data.customer}}", escape), not_scalar, "{escape:?}");
        assert_eq!(fault("{{{data.customer}}}", escape), not_scalar, "{escape:?}");
        assert_eq!(fault("{{data.note}}", escape), null, "{escape:?}");
    }
    for text in [
        r#"{"a": "{{data.customer}}"}"#,
        r#"{"a": "{{{data.customer}}}"}"#,
        r#"{"a": "{{#if data.id}}x {{data.customer}}{{/if}}"}"#,
        r#"{"a": {{#if data.id}}"\"{{data.customer}}"{{/if}}}"#,
        r#"{{#if data.id}}"{{else}}1{{/if}}{{data.customer}}"#,
    ] {
        assert_eq!(fault(text, Json), not_scalar, "{text}");
        assert_eq!(fault(&text.replace("customer", "note"), JsonLines), null, "{text}");
    }
    let table = [
        (
            r#"{"a": {{data.note}}, "{{data.id}}": {{data.customer}}}"#,
            r#"{"a": null, "o-1": {"id":"c/7","tags":["x","y"]}}"#,
        ),
        (r#"{"a": {{data.id}}, "b": {{upper data.id}}}"#, r#"{"a": "o-1", "b": "O-1"}"#),
        (r#"{"a": "{{json data.customer}}"}"#, r#"{"a": "{\"id\":\"c/7\",\"tags\":[\"x\",\"y\"]}"}"#),
        (r#"{"a": "{{data.total}} {{data.vip}} {{default data.note ""}}"}"#, r#"{"a": "12.5 false "}"#),
        (
            r#"{"a": {{#if data.id}}"{{data.id}}"{{else}}{{data.customer}}{{/if}}, "b": {{data.empty}}}"#,
            r#"{"a": "o-1", "b": []}"#,
        ),
    ];
    for (text, expected) in table {
        assert_eq!(rendered(text, Json), expected, "{text}");
    }
    assert!(refusal(r#"["{{#each data.items}}", {{/each}}"]"#, Json).message.contains("quote"));
}

#[test]
fn a_value_is_escaped_as_the_content_type_asks() {
    use Escape::{Csv, Form, Tsv, Xml};
    let table = [
        ("<a b=\"{{data.quote}}\">{{data.id}}</a>", Xml, "<a b=\"a &quot;b&quot; \\ c&#10;d\u{2028}e\">o-1</a>"),
        ("<{{data.id}}/>", Xml, "<o-1/>"),
        ("a={{data.region}}&b={{data.name}}", Form, "a=eu%20west%2F1&b=Gr%C3%B6%C3%9Fe"),
        (
            "{{data.id}},{{data.quote}},\"x {{data.quote}}\"\r\n",
            Csv,
            "o-1,\"a \"\"b\"\" \\ c\nd\u{2028}e\",\"x a \"\"b\"\" \\ c\nd\u{2028}e\"\r\n",
        ),
        ("{{data.id}}\t{{data.region}}", Tsv, "o-1\teu west/1"),
    ];
    for (text, escape, expected) in table {
        assert_eq!(rendered(text, escape), expected, "{text}");
    }
    assert!(matches!(fault("<a {{data.region}}/>", Xml), RenderFault::NotInPlace(..)));
    assert!(matches!(fault("{{data.id}}\t{{data.crlf}}", Tsv), RenderFault::NotInPlace(..)));
    assert!(refusal("<!-- {{data.id}} -->", Xml).message.contains("comment"));
    assert!(refusal("x{{data.id}}", Csv).message.contains("whole field"));
}

#[test]
fn values_compare_as_in_filters() {
    let yes = [
        "eq 100 100.0",
        "ne 1 2",
        "eq data.customer data.customer",
        "gt 10 9",
        "lte 'a' 'b'",
        "ne '1234' 1234",
        "eq 175928847299117063 175928847299117063",
        "ne 175928847299117063 175928847299117064",
        "eq data.nothing data.note",
        "eq (len 'äö😀') 3",
        "gte data.total 12.5",
    ];
    for condition in yes {
        assert_eq!(
            rendered(&format!("{{{{#if ({condition})}}}}yes{{{{else}}}}no{{{{/if}}}}"), Escape::Text),
            "yes",
            "{condition}"
        );
        assert_eq!(
            rendered(
                &format!(
                    "{{{{#{condition}}}}}yes{{{{else}}}}no{{{{/{}}}}}",
                    &condition[..condition.find(' ').unwrap()]
                ),
                Escape::Text
            ),
            "yes"
        );
    }
    for wrong in [
        "gt '10' 9",
        "lt data.id 9",
        "gt true false",
        "gt data.note 1",
        "lt data.customer data.customer",
        "len 5",
        "len data.note",
    ] {
        assert!(matches!(fault(&format!("{{{{{wrong}}}}}"), Escape::Text), RenderFault::WrongValue { .. }), "{wrong}");
    }
    for missing in ["gt data.nothing 1", "len data.nothing"] {
        assert_eq!(fault(&format!("{{{{{missing}}}}}"), Escape::Text), RenderFault::Missing("data.nothing".into()));
    }
    assert_eq!(fault("{{upper data.customer}}", Escape::Text), RenderFault::NotScalar("data.customer".into()));
}

#[test]
fn a_query_always_gives_an_array() {
    for (query, expected) in [("?@.n > 0", "a;b;"), ("?@.n == 1", "a;"), ("?@.n > 5", "")] {
        let text = format!("{{{{#each (query \"$.data.items[{query}]\")}}}}{{{{sku}}}};{{{{/each}}}}");
        assert_eq!(rendered(&text, Escape::Text), expected, "{query}");
    }
    assert_eq!(rendered("{{query '$.data.nothing'}}", Escape::Json), "[]");
    let doubts = |text: &str| Template::compile(text, Escape::Json).unwrap().doubts().to_vec();
    assert!(matches!(*doubts("{{#each (jsonpath '$.data.x')}}x{{/each}}"), [Doubt::SingleValueRepeated(_)]));
    assert!(matches!(*doubts("{{jsonpath '$.items'}}"), [Doubt::UnknownMember(_)]));
    assert_eq!(doubts("{{#each (query '$.data.x')}}x{{/each}}"), []);
}

#[test]
fn a_key_depends_on_the_event() {
    for (text, help) in [
        ("$.data.id", "`{{data.id}}`"),
        ("data.id", "`{{data.id}}`"),
        ("{data.id}", "`{{data.id}}`"),
        ("all", "two braces"),
        ("", "two braces"),
    ] {
        let error = refusal(text, Escape::Key);
        assert!(error.message.contains("same for every event"), "{error}");
        assert!(error.help.unwrap().contains(help), "{text}");
    }
    assert_eq!(rendered("{{data.id}}/x", Escape::Key), "o-1/x");
}

#[test]
fn this_is_no_member() {
    for text in ["{{data.this}}", "{{data.[this].x}}", "{{#with data}}{{id.this}}{{/with}}"] {
        assert!(refusal(text, Escape::Text).help.unwrap().contains("lookup"), "{text}");
    }
    assert_eq!(
        rendered(
            "{{#each data.customer.tags}}{{this}}{{#with @root.data}}{{#if ../this}}!{{/if}}{{/with}}{{/each}}",
            Escape::Text
        ),
        "x!y!"
    );
}

proptest! {
    #[test]
    fn text_in_a_json_body_reads_back_as_it_was(text in "(?s).{0,40}") {
        let template = Template::compile(r#"{"a":"{{data.v}}","b":{{json data.v}},"c":{{json data}}}"#, Escape::Json).unwrap();
        let data = json!({"v": text});
        let body = template.render(&Context::new(json!({"data": data}))).unwrap();
        prop_assert!(Escape::Json.verify(&body).is_ok());
        let value: Value = serde_json::from_str(&body).unwrap();
        prop_assert_eq!(value, json!({"a": text, "b": text, "c": data}));
    }

    #[test]
    fn text_in_a_url_reads_back_and_stays_in_its_segment(text in "(?s).{0,40}|[./?#%&\\\\@:]{0,5}") {
        let template = Template::compile("https://x/a/{{data.v}}/b", Escape::Url).unwrap();
        let url = match template.render(&Context::new(json!({"data": {"v": text}}))) {
            Ok(url) => url,
            Err(failure) => {
                prop_assert_eq!(failure.fault, RenderFault::DotSegment);
                prop_assert!(matches!(text.as_str(), "." | ".."));
                return Ok(());
            }
        };
        let segment = url.strip_prefix("https://x/a/").unwrap().strip_suffix("/b").unwrap();
        prop_assert!(!segment.contains(['/', '?', '#', '\\']));
        prop_assert_eq!(percent_decode_str(segment).decode_utf8().unwrap(), text.as_str());
        let parsed = url::Url::parse(&url).unwrap();
        prop_assert_eq!(parsed.path(), format!("/a/{segment}/b"));
    }

    #[test]
    fn a_header_is_visible_or_refused(text in "(?s).{0,20}") {
        let template = Template::compile("a {{data.v}}", Escape::Header).unwrap();
        match template.render(&Context::new(json!({"data": {"v": text}}))) {
            Ok(header) => prop_assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte))),
            Err(failure) => prop_assert_eq!(failure.fault, RenderFault::NotHeaderText("data.v".into())),
        }
    }

    #[test]
    fn compiling_never_panics(text in "(?s).{0,60}") {
        let _unused = Template::compile(&text, Escape::Json).is_ok();
    }

    #[test]
    fn compiling_what_looks_like_a_template_never_panics(
        text in "(\\{\\{|\\}\\}|\\{\\{#|\\{\\{/|\\{\\{\\{|\\}\\}\\}|\\{\\{\\{\\{|\\{\\{else|\\{\\{>|\\{\\{\\*|\\{\\{!|\\{\\{\\^|~|if|each|data|id|raw|upper|\\.|\\.\\./|@|index|root|this|\\(|\\)|\\[|\\]|\"|'|\\\\|=|\\||as| |\n|1|-|é|null){0,24}"
    ) {
        for escape in [Escape::Json, Escape::Url, Escape::Header] {
            match Template::compile(&text, escape) {
                Ok(template) => {
                    let _unused = template.render(&Context::new(order())).is_ok();
                }
                Err(faults) => {
                    prop_assert!(!faults.is_empty());
                    for fault in faults {
                        prop_assert!(text.get(fault.part.clone()).is_some(), "{fault:?} in {text:?}");
                    }
                }
            }
        }
    }
}
