//! `docs/verify-signatures.md` in its parts: a section for each scheme, with its configuration and a function in each language.

use std::collections::BTreeMap;

use webhook_bridge::secret::Secret;
use webhook_bridge::sink::signing::{SchemeName, Signer, SigningConfig};

/// The languages that a section has a function in, as its fences name them.
const LANGUAGES: [&str; 3] = ["python", "javascript", "go"];

/// What the document says of a scheme.
pub(super) struct Section {
    pub(super) scheme: String,
    /// What its fences hold, by their language.
    fences: BTreeMap<String, String>,
}

impl Section {
    pub(super) fn function(&self, language: &str) -> &str {
        &self.fences[language]
    }

    /// The keys of `[sinks.NAME.signing]` with these secrets.
    pub(super) fn keys(&self, secrets: &[&str]) -> String {
        let lines = self.fences["toml"].lines().filter(|line| !line.contains("[sinks.") && !line.contains("secrets"));
        let secrets: Vec<String> = secrets.iter().map(|secret| format!("'{secret}'")).collect();
        lines.map(|line| format!("{line}\n")).collect::<String>() + &format!("secrets = [{}]\n", secrets.join(", "))
    }

    /// What those keys mean.
    pub(super) fn config(&self, secrets: &[&str]) -> SigningConfig {
        toml::from_str(&self.keys(secrets)).unwrap()
    }

    /// The headers that the scheme sets.
    pub(super) fn headers(&self) -> Vec<&'static str> {
        match self.scheme.as_str() {
            "github" => vec!["x-hub-signature-256"],
            "stripe" => vec!["stripe-signature"],
            "slack" => vec!["x-slack-signature", "x-slack-request-timestamp"],
            "shopify" => vec!["x-shopify-hmac-sha256"],
            "custom" => vec!["x-signature"],
            _ => vec!["webhook-signature", "webhook-timestamp"],
        }
    }

    /// Secrets that the bridge signs with, as the scheme asks for them.
    pub(super) fn secrets(&self) -> [&'static str; 2] {
        match self.scheme.as_str() {
            "standard-webhooks-ed25519" => [
                "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
                // RFC 8032, 7.1, the second test.
                "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=",
            ],
            "standard-webhooks" => ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
            _ => ["the-first-of-two-secrets", "the-second-of-two-secrets"],
        }
    }

    /// What receivers verify with: the same, or the public keys.
    pub(super) fn receivers_secrets(&self) -> [&'static str; 2] {
        match self.scheme.as_str() {
            "standard-webhooks-ed25519" => [
                "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
                "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
            ],
            _ => self.secrets(),
        }
    }
}

/// The sections of the document.
pub(super) fn sections() -> Vec<Section> {
    let text = std::fs::read_to_string("docs/verify-signatures.md").unwrap();
    let sections = text.split("\n## `").skip(1).map(|section| {
        let (scheme, rest) = section.split_once('`').unwrap();
        let fences = rest.split("```").skip(1).step_by(2).map(|fence| {
            let (language, content) = fence.split_once('\n').unwrap();
            (language.to_owned(), content.to_owned())
        });
        Section { scheme: scheme.to_owned(), fences: fences.collect() }
    });
    sections.collect()
}

#[test]
fn every_scheme_has_a_section_with_a_function_in_each_language() {
    let sections = sections();
    let named: Vec<_> = sections.iter().map(|section| section.scheme.as_str()).collect();
    assert_eq!(named, SchemeName::all().map(SchemeName::name).collect::<Vec<_>>());
    for section in &sections {
        for language in LANGUAGES {
            assert!(section.fences.contains_key(language), "{} has none in {language}", section.scheme);
        }
        let config = section.config(&section.secrets());
        assert_eq!(config.scheme.name(), section.scheme);
        Signer::new(&config).unwrap_or_else(|problems| panic!("{}: {problems:?}", section.scheme));
        assert!(section.receivers_secrets().iter().all(|secret| Secret::new(*secret).expose().len() >= 16));
    }
}
