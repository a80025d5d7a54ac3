//! Results of tests as JUnit XML: a suite for each file, an error in place of its tests when the file is wrong.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::text::way;
use super::{Count, Tested, TestedFile, TestedPipeline};
use crate::testing::difference::Side;

type Xml = Writer<Vec<u8>>;

/// All results.
pub(super) fn report(files: &[TestedFile], count: Count) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Writing to memory does not fail.
    write(&mut writer, files, count).ok();
    String::from_utf8(writer.into_inner()).unwrap_or_default() + "\n"
}

fn write(writer: &mut Xml, files: &[TestedFile], count: Count) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let wrong = files.iter().filter(|file| file.result.is_err()).count();
    let tests = (count.passed + count.failed + wrong).to_string();
    let (failures, errors) = (count.failed.to_string(), wrong.to_string());
    let suites = writer.create_element("testsuites");
    let suites = suites.with_attributes([("name", "bridge test"), ("tests", &tests), ("failures", &failures)]);
    let write_all = |writer: &mut Xml| files.iter().try_for_each(|file| suite(writer, file));
    suites.with_attribute(("errors", errors.as_str())).write_inner_content(write_all)?;
    Ok(())
}

fn suite(writer: &mut Xml, TestedFile { path, result }: &TestedFile) -> io::Result<()> {
    let path = allowed(&path.display().to_string());
    let pipeline = match result {
        Ok(pipeline) => pipeline,
        Err(errors) => return wrong_file(writer, &path, &allowed(&errors.to_string())),
    };
    let TestedPipeline { name, tests, .. } = pipeline;
    let failed = tests.iter().filter(|tested| !tested.passes()).count().to_string();
    let count = tests.len().to_string();
    let attributes = [("name", name.as_str()), ("file", &path), ("tests", &count), ("failures", &failed)];
    let suite = writer.create_element("testsuite").with_attributes(attributes).with_attribute(("errors", "0"));
    if tests.is_empty() {
        suite.write_empty()?;
        return Ok(());
    }
    suite.write_inner_content(|writer| tests.iter().try_for_each(|tested| case(writer, name, &path, tested)))?;
    Ok(())
}

fn wrong_file(writer: &mut Xml, path: &str, errors: &str) -> io::Result<()> {
    let attributes = [("name", path), ("file", path), ("tests", "1"), ("failures", "0"), ("errors", "1")];
    let suite = writer.create_element("testsuite").with_attributes(attributes);
    suite.write_inner_content(|writer| {
        let attributes = [("name", "the file is sound"), ("classname", path), ("file", path)];
        let case = writer.create_element("testcase").with_attributes(attributes);
        case.write_inner_content(|writer| {
            let error = writer.create_element("error").with_attribute(("message", "the pipeline file is wrong"));
            error.write_text_content(BytesText::new(errors)).map(drop)
        })?;
        Ok(())
    })?;
    Ok(())
}

fn case(writer: &mut Xml, pipeline: &str, path: &str, tested: &Tested) -> io::Result<()> {
    let (name, line) = (allowed(&tested.test.name), tested.test.line.to_string());
    let attributes = [("name", name.as_str()), ("classname", pipeline), ("file", path), ("line", &line)];
    let case = writer.create_element("testcase").with_attributes(attributes);
    let findings = tested.findings();
    if findings.is_empty() {
        case.write_empty()?;
        return Ok(());
    }
    let message = findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    let text = allowed(&details(tested));
    case.write_inner_content(|writer| {
        let failure = writer.create_element("failure").with_attribute(("message", allowed(&message).as_str()));
        failure.write_text_content(BytesText::new(&text)).map(drop)
    })?;
    Ok(())
}

fn details(tested: &Tested) -> String {
    let mut lines: Vec<String> = way(tested).into_iter().collect();
    for finding in tested.findings() {
        lines.push(finding.message);
        lines.extend(finding.lines.iter().map(|line| match line.side {
            Side::Expected => format!("- {}", line.text),
            Side::Found => format!("+ {}", line.text),
            Side::Both | Side::Hint => format!("  {}", line.text),
        }));
    }
    lines.join("\n")
}

/// The text without the characters that no XML document may hold, not even escaped (XML 1.0, 2.2).
fn allowed(text: &str) -> String {
    let is_allowed = |character: &char| matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|character| if is_allowed(&character) { character } else { '\u{fffd}' }).collect()
}
