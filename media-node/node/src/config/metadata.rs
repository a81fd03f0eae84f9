//! Addresses that the machine's metadata service is asked for.

use std::net::IpAddr;

use super::read::Reader;

/// What is written instead of an address.
const WORD: &str = "metadata";
/// The variable that AWS's SDKs read, too.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Where EC2 has it.
const USUAL: &str = "http://169.254.169.254";

/// What the metadata service of EC2 is asked for at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataSection {
    /// `http://host:port` of the service.
    pub endpoint: String,
    /// `sip.advertise` is to come from there.
    pub sip: bool,
    /// `media.advertise` is.
    pub media: bool,
}

impl Reader<'_> {
    /// `sip.advertise` and `media.advertise` as far as they are written, and what is asked of the service.
    pub(super) fn advertised(&mut self) -> (Option<String>, Option<IpAddr>, MetadataSection) {
        let sip = self.text("sip", "advertise", "");
        let media = self.text("media", "advertise", "");
        let endpoint = self.env.get(ENDPOINT).filter(|text| !text.is_empty()).map_or(USUAL, String::as_str);
        let section = MetadataSection {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            sip: sip.trim() == WORD,
            media: media.trim() == WORD,
        };
        let remedy = "write an address such as 203.0.113.7, or \"metadata\" on EC2";
        let ip = if section.media { None } else { self.parsed("media", "advertise", remedy) };
        (Some(sip).filter(|text| !text.is_empty() && !section.sip), ip, section)
    }
}
