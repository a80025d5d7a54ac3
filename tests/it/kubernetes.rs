//! The manifests in `examples/kubernetes`: valid by the schemas of their kinds, sound in what no schema can see, and with
//! pipelines that pass `bridge check`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::{Value, json};
use webhook_bridge::admin::{HEALTHZ, READYZ};
use webhook_bridge::cli::Cli;

use crate::support::{command, run_to_end};

/// Where the examples mount their secrets.
const SECRETS: &str = "/run/secrets/bridge";

fn manifests() -> Vec<(PathBuf, Vec<Value>)> {
    let folder = std::fs::read_dir("examples/kubernetes").unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let found: Vec<_> = files.map(|file| (file.clone(), documents(&file))).collect();
    assert_eq!(found.len(), 4, "{found:?}");
    found
}

fn documents(file: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> Vec<&'d Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

fn schema(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(Path::new("tests/schemas").join(file)).unwrap()).unwrap()
}

/// The published schema of a document's kind.
fn schema_of(document: &Value) -> Value {
    let definition = match (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap()) {
        ("keda.sh/v1alpha1", "ScaledObject") => return schema("keda-scaledobject.json"),
        ("v1", kind @ ("ConfigMap" | "Secret" | "PersistentVolumeClaim")) => format!("io.k8s.api.core.v1.{kind}"),
        ("apps/v1", "Deployment") => "io.k8s.api.apps.v1.Deployment".to_owned(),
        ("policy/v1", "PodDisruptionBudget") => "io.k8s.api.policy.v1.PodDisruptionBudget".to_owned(),
        other => panic!("there is no schema for {other:?}"),
    };
    let mut schema = schema("kubernetes-1.37.json");
    assert!(schema["$defs"][&definition].is_object(), "{definition}");
    schema["$ref"] = json!(format!("#/$defs/{definition}"));
    schema
}

#[test]
fn every_document_is_valid_by_the_schema_of_its_kind() {
    for (file, documents) in manifests() {
        for document in documents {
            let validator = jsonschema::validator_for(&schema_of(&document)).unwrap();
            let faults: Vec<String> =
                validator.iter_errors(&document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
            assert!(faults.is_empty(), "{}, {}: {faults:#?}", file.display(), document["kind"]);
            let mut wrong = document.clone();
            wrong["metadata"]["nmae"] = json!("x");
            assert!(!validator.is_valid(&wrong), "the schema of {} finds no unknown fields", document["kind"]);
        }
    }
}

/// The containers of a Deployment that are the bridge.
fn bridges(deployment: &Value) -> Vec<&Value> {
    let pod = &deployment["spec"]["template"]["spec"];
    let all = ["initContainers", "containers"].into_iter().flat_map(|list| pod[list].as_array().into_iter().flatten());
    all.filter(|container| container["name"] == "bridge").collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn parse(arguments: &[String]) -> Cli {
    let line = std::iter::once("bridge".to_owned()).chain(arguments.iter().cloned());
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

#[test]
fn the_bridges_command_lines_probes_and_rights_are_right() {
    for (file, documents) in manifests() {
        let file = file.display();
        for deployment in of_kind(&documents, "Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 30, "{file}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{file}");
            let bridges = bridges(deployment);
            assert_eq!(bridges.len(), 1, "{file}");
            for bridge in bridges {
                parse(&texts(&bridge["args"]));
                assert_eq!(bridge["securityContext"]["readOnlyRootFilesystem"], true, "{file}");
                assert_eq!(bridge["securityContext"]["capabilities"]["drop"], json!(["ALL"]), "{file}");
                for (probe, path) in [("startupProbe", HEALTHZ), ("livenessProbe", HEALTHZ), ("readinessProbe", READYZ)]
                {
                    let probe = &bridge[probe];
                    match probe["exec"]["command"].as_array() {
                        Some(command) => drop(parse(&texts(&json!(command[1..])))),
                        None if probe.is_null() => assert!(path == READYZ, "{file} has no {path}"),
                        None => assert_eq!(probe["httpGet"]["path"], path, "{file}"),
                    }
                }
            }
        }
    }
}

/// Names that refer to each other within a file.
#[test]
fn what_is_named_is_there() {
    for (file, documents) in manifests() {
        let file = file.display();
        let names = |kind: &str| -> BTreeSet<String> {
            let all = of_kind(&documents, kind).into_iter();
            all.map(|document| document["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        for deployment in of_kind(&documents, "Deployment") {
            let pod = &deployment["spec"]["template"];
            let labels = &pod["metadata"]["labels"];
            assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels, "{file}");
            for budget in of_kind(&documents, "PodDisruptionBudget") {
                assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels, "{file}");
            }
            let volumes = pod["spec"]["volumes"].as_array().unwrap();
            for (kind, pointer) in [
                ("ConfigMap", "/configMap/name"),
                ("Secret", "/secret/secretName"),
                ("PersistentVolumeClaim", "/persistentVolumeClaim/claimName"),
            ] {
                let used: BTreeSet<String> = volumes
                    .iter()
                    .filter_map(|volume| volume.pointer(pointer).map(|name| name.as_str().unwrap().to_owned()))
                    .collect();
                assert_eq!(used, names(kind), "{file}: {kind}");
            }
            for bridge in bridges(deployment) {
                let mounted = |path: &str| {
                    let mounts = bridge["volumeMounts"].as_array().unwrap();
                    mounts.iter().any(|mount| mount["mountPath"] == path)
                };
                assert!(mounted("/etc/bridge") && mounted(SECRETS) && mounted("/var/lib/bridge"), "{file}");
                for mount in bridge["volumeMounts"].as_array().unwrap() {
                    assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{file}: {mount}");
                }
            }
        }
        for scaled in of_kind(&documents, "ScaledObject") {
            assert!(names("Deployment").contains(scaled["spec"]["scaleTargetRef"]["name"].as_str().unwrap()), "{file}");
        }
    }
}

#[test]
fn every_pipeline_passes_the_check() {
    for (file, documents) in manifests() {
        let folder = tempfile::tempdir().unwrap();
        for secret in of_kind(&documents, "Secret") {
            for (name, value) in secret["stringData"].as_object().unwrap() {
                std::fs::write(folder.path().join(name), value.as_str().unwrap()).unwrap();
            }
        }
        let pipelines: Vec<_> =
            of_kind(&documents, "ConfigMap").into_iter().flat_map(|map| map["data"].as_object().unwrap()).collect();
        assert!(!pipelines.is_empty(), "{}", file.display());
        for (name, text) in pipelines {
            let pipeline = folder.path().join(name);
            let text = text.as_str().unwrap().replace(SECRETS, folder.path().to_str().unwrap());
            std::fs::write(&pipeline, text).unwrap();
            let (code, _, stderr) = run_to_end(command().arg("check").arg(&pipeline));
            assert_eq!(code, 0, "{}: {stderr}", file.display());
        }
    }
}
