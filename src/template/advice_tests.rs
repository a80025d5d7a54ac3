//! What is said about templates that other languages would take.

use super::foreign::{self, Meaning};
use super::helpers::SIGNATURES;
use super::{Doubt, Escape, Template, TemplateError};

fn faults(text: &str) -> Vec<TemplateError> {
    Template::compile(text, Escape::Text).err().unwrap_or_default()
}

/// The pieces of a help that stand between backticks and hold braces.
fn templates_in(help: &str) -> Vec<String> {
    help.split('`')
        .skip(1)
        .step_by(2)
        .filter(|piece| piece.contains("{{") && !piece.contains("{{{…"))
        .map(str::to_owned)
        .collect()
}

/// A piece as a whole template: a block that is only begun is closed.
fn whole(piece: &str) -> String {
    let name = |start: usize| piece[start..].split([' ', '}', '~']).next().unwrap_or_default().to_owned();
    if let Some(start) = piece.find("{{else ") {
        return if piece.contains("{{#") {
            piece.to_owned()
        } else {
            format!("{{{{#if 1}}}}{}{{{{/if}}}}", &piece[start..])
        };
    }
    match piece.find("{{#") {
        Some(start) if !piece.contains("{{/") => format!("{piece}x{{{{/{}}}}}", name(start + 3)),
        _ => piece.to_owned(),
    }
}

#[test]
fn what_other_languages_write_is_answered_by_what_to_write_here() {
    let table = [
        // JavaScript
        (r#"{{data.type == "x"}}"#, r#"`{{#if (eq data.type "x")}}…{{/if}}`"#),
        (r#"{{#if data.type === 'x'}}y{{/if}}"#, "`{{#if (eq data.type 'x')}}`"),
        ("{{#if data.total > 100 && !data.vip}}y{{/if}}", "`{{#if (and (gt data.total 100) (not data.vip))}}`"),
        ("{{#if !data.vip}}y{{/if}}", "`{{#if (not data.vip)}}`"),
        ("{{data.a && data.b}}", "`{{#if (and data.a data.b)}}…{{/if}}`"),
        ("{{data.a || 'none'}}", "`{{default data.a 'none'}}`"),
        ("{{data.a ?? 'none'}}", "`{{default data.a 'none'}}`"),
        ("{{data.vip ? 'yes' : data.id}}", "`{{#if data.vip}}yes{{else}}{{data.id}}{{/if}}`"),
        ("{{data?.region}}", "`{{default data.region \"\"}}`"),
        ("{{data.name.toUpperCase()}}", "`{{upper data.name}}`"),
        ("{{data.a.b()}}", "`{{upper data.region}}`"),
        ("{{data.total.toFixed(2)}}", "`{{fixed data.total 2}}`"),
        ("{{data.name.substring(0, 5)}}", "`{{truncate data.name 5}}`"),
        ("{{data[\"id\"]}}", "`{{data.id}}`"),
        ("{{ data['odd name'] }}", "`{{data.[odd name]}}`"),
        ("{{data[0]}}", "`{{data.[0]}}`"),
        ("{{data.items[0].sku}}", "`{{data.items.[0].sku}}`"),
        ("{{JSON.stringify(data)}}", "`{{json data}}`"),
        ("{{'Order ' + data.id}}", "`Order {{data.id}}`"),
        ("{{data.total / 100}}", "`{{div data.total 100}}`"),
        ("{{data.total * 1.2}}", "`{{mul data.total 1.2}}`"),
        ("{{data.a + data.b * 2}}", "`{{add data.a (mul data.b 2)}}`"),
        ("{{data.total % 2}}", "stand before their values"),
        ("{{#if data.total / 100 > 5}}y{{/if}}", "`{{#if (gt (div data.total 100) 5)}}`"),
        ("{{total - 1}}", "`{{sub data.total 1}}`"),
        ("{{upper(data.region)}}", "`data.region`"),
        ("{{default(data.region, \"x\")}}", "`{{default data.region \"x\"}}`"),
        ("{{default data.region, \"x\"}}", "without commas|`{{default data.region \"none\"}}`"),
        ("{{\"text\"}}", "`text`"),
        // Liquid and Jinja
        ("{{data.f | upcase}}", "`{{upper data.f}}`"),
        ("{{data.f | default: \"x\" | downcase}}", "`{{lower (default data.f \"x\")}}`"),
        ("{{data.f | default('x')}}", "`{{default data.f 'x'}}`"),
        ("{{data.at | date: \"%Y\"}}", "`{{format_time data.at \"%Y\"}}`"),
        ("{{data.f | round}}", "`{{round data.f}}`"),
        ("{{data.f | plus: 2 | money}}", "add, sub, mul"),
        ("{{data.tags | join: \", \"}}", "`{{join data.tags \", \"}}`"),
        ("{{data.name | truncate: 5}}", "`{{truncate data.name 5}}`"),
        ("{{data.f | escape}}", "by itself"),
        ("{{data.items | size}}", "`{{len data.items}}`"),
        ("{{ data.b if data.a else 'x' }}", "`{{#if data.a}}{{data.b}}{{else}}x{{/if}}`"),
        ("{{#if data.a and data.b}}y{{/if}}", "`{{#if (and data.a data.b)}}`"),
        ("{{#if not data.a}}y{{/if}}", "`{{#if (not data.a)}}`"),
        ("{{#if data.a == None}}y{{/if}}", "`{{#if (eq data.a null)}}`"),
        ("{{#each item in data.items}}y{{/each}}", "`{{#each data.items as |item|}}`"),
        ("{{#each data.items as item}}y{{/each}}", "`{{#each data.items as |item|}}`"),
        ("{{- data.id -}}", "`{{~data.id~}}`"),
        ("{{- data.id}}", "`{{~data.id~}}`"),
        ("{{elif data.a}}", "{{else if"),
        ("{{endif}}", "{{/if}}"),
        // Go templates and jq
        ("{{ .data.id }}", "`{{data.id}}`"),
        ("{{ .Values.x }}", "`{{data.x}}`"),
        ("{{ .total }}", "`{{data.total}}`"),
        ("{{.}}", "`this`"),
        ("{{ if eq .data.type \"x\" }}", "`{{#if (eq data.type \"x\")}}`"),
        ("{{#if eq data.type \"x\"}}y{{/if}}", "`{{#if (eq data.type \"x\")}}`"),
        ("{{ range .data.items }}", "`{{#each data.items}}…{{/each}}`"),
        ("{{end}}", "{{/if}}"),
        ("{{$.data.id}}", "write `data.id`"),
        ("{{$data.id}}", "write `data.id`"),
        ("{{.data.a // 'x'}}", "`{{default data.a 'x'}}`"),
        // Handlebars with other helpers, and Mustache
        ("{{toJson data}}", "`json`"),
        ("{{tojson data}}", "`json`"),
        ("{{to_json data}}", "`json`"),
        ("{{formatDate data.at \"%Y\"}}", "`format_time`"),
        ("{{length data.items}}", "`len`"),
        ("{{printf \"%s\" data.id}}", "side by side"),
        ("{{#switch data.type}}{{/switch}}", "`switch` is not a block|{{switch "),
        ("{{#ifEquals data.type \"x\"}}y{{/ifEquals}}", "`eq`"),
        ("{{#unles data.vip}}y{{/unles}}", "`unless`"),
        ("{{frobnicate data.id}}", "the helpers are json, default"),
        ("{{#if data.a}}x{{else if data.b == 1}}y{{/if}}", "`{{else if (eq data.b 1)}}`"),
        ("{{#if data.a}}x{{#else}}y{{/if}}", "{{else}}"),
        ("{{^data.vip}}x{{/data.vip}}", "unless"),
        ("{{#if data.a}}x{{/fi}}", "{{/if}}"),
        ("x{{/if}}", "{{#if"),
        // Paths
        ("{{payload.id}}", "`data.id`"),
        ("{{event.data.id}}", "`data.id`"),
        ("{{this.customer.id}}", "`data.customer.id`"),
        ("{{topic}}", "`meta.topic`"),
        ("{{@root.customer}}", "`@root.data.customer`"),
        ("{{../customer}}", "`../data.customer`"),
        ("{{#each data.items}}{{../customer}}{{/each}}", "`../data.customer`"),
        ("{{#each data.items}}{{#if x}}{{../../data.id}}{{/if}}{{/each}}", "`@root.data.id`"),
        ("{{this}}", "`this` is the whole envelope"),
        ("{{headers}}", "`json`"),
        ("{{default data.id}}", "`{{default data.region \"none\"}}`"),
        (r#"{{jsonpath "$.data[?match(@.x, 'o-\d')]"}}"#, "doubled"),
        ("{{data.id}", "two braces"),
        ("{{upper \"a}}", "two quotes"),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let found = faults(text);
        let Some(first) = found.first() else {
            wrong.push(format!("{text} has no fault"));
            continue;
        };
        let help = first.help.clone().unwrap_or_default();
        let said = format!("{} | {help}", first.message);
        if !said.contains(expected) && !expected.split('|').all(|part| said.contains(part)) {
            wrong.push(format!("{text}: {said}"));
        }
        for piece in templates_in(&help).iter().map(|piece| whole(piece)) {
            wrong.extend(faults(&piece).iter().map(|fault| format!("{text} is told to write {piece}: {fault}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_advice_about_words_is_sound() {
    for signature in &SIGNATURES {
        assert_eq!(faults(signature.example), [], "{}", signature.example);
    }
    for (words, meant) in foreign::rows() {
        for word in words.split(' ') {
            assert_eq!(foreign::meaning(word), Some(meant), "{word}");
        }
        match meant {
            Meaning::Helper(helper) => assert!(foreign::example(helper).is_some(), "{helper}"),
            Meaning::Advice(advice) => {
                for piece in templates_in(advice) {
                    assert_eq!(faults(&whole(&piece)), [], "{words}: {piece}");
                }
            }
        }
    }
}

#[test]
fn every_fault_of_a_template_has_its_place() {
    let text = "{{uper data.id}} {{upper}} {{customer.id}}\n\
                {{data.a == 1}} {{default (foo data.x) (lower customer)}}\n\
                {{#if data.total > 5}}{{dta.id}}{{else if data.b = 'x'}}{{@index}}{{/if}}\n\
                {{#each data.items}}{{@indx}}{{toJson sku}}{{/each}} {{data.f | round}}";
    let found: Vec<_> =
        faults(text).into_iter().map(|fault| (fault.line, fault.column, text[fault.part].to_owned())).collect();
    let expected = [
        (1, 3, "uper"),
        (1, 20, "upper"),
        (1, 30, "customer"),
        (2, 10, "=="),
        (2, 28, "foo"),
        (2, 47, "customer"),
        (3, 18, ">"),
        (3, 25, "dta"),
        (3, 50, "="),
        (3, 59, "@index"),
        (4, 23, "@indx"),
        (4, 32, "toJson"),
        (4, 63, "|"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(line, column, part)| (line, column, part.to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_expression_that_is_not_closed_hides_no_other_fault() {
    let text = "{{uper data.id}} {{data.id} {{#if data.a}}{{dta.b}}{{/if}}";
    let found: Vec<_> = faults(text).into_iter().map(|fault| text[fault.part].to_owned()).collect();
    assert_eq!(found, ["uper", "{{data.id}", "dta"]);
    let text = "{{#if data.a}}{{#each data.b}}{{/if}}{{data.x == 1}}{{/with}}{{else}}";
    let found: Vec<_> = faults(text).into_iter().map(|fault| fault.message).collect();
    assert!(found[0].contains("`each` is not closed") && found[1].contains("`==`"), "{found:?}");
    assert!(found[2].contains("`with` closes no block") && found[3].contains("within no block"), "{found:?}");
}

#[test]
fn what_handlebars_takes_is_left_alone() {
    for text in [
        "{{#each data.items as |item|}}{{#if ../data.id}}{{item.sku}}{{../id}}{{/if}}{{@../index}}{{/each}}",
        "{{#with data.customer as |c|}}{{#if c.vip}}{{c.id}}{{/if}}{{/with}}",
        "{{#if data.id}}{{../data.id}}{{/if}}",
        "{{@root.data.id}}{{{data.id}}}{{&data.id}}{{! data.a == 1 }}{{!-- {{x == y}} --}}",
        "\\{{data.a == 1}} {{{{raw}}}}{{a | b}}{{{{/raw}}}}",
        "{{json this}} {{json headers}} {{meta.topic}} {{data.payload}}",
    ] {
        assert_eq!(faults(text), [], "{text}");
    }
}

#[test]
fn expressions_of_other_languages_in_the_text_are_doubted() {
    let doubts = |text: &str| Template::compile(text, Escape::Json).unwrap().doubts().to_vec();
    let found = doubts("{\"a\": \"{{data.id}}\",\n \"b\": \"{data.id}\"}");
    let [Doubt::NotAnExpression(error)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((error.line, error.column, error.help.as_deref()), (2, 8, Some("write `{{data.id}}`")));
    assert_eq!(doubts("{\"a\": \"{{{{raw}}}}x{{{{/raw}}}}\", \"b\": \"{x}\"}"), []);
    let options = super::Options::default();
    let faults = Template::compile_body("{% if data.a %}{\"a\": 1}{% endif %}", Escape::Json, &options).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].message.contains("{% if data.a %}") && faults[0].help.as_ref().unwrap().contains("{{#if"));
}
