//! What `upload --dry-run` shows: the value a run would act on.

use std::time::Duration;

use serde_json::{Value, json};

use crate::report::units::{bytes, count, time};
use crate::text::one_line;

#[derive(Debug, Clone)]
pub struct UploadPlan {
    pub store: String,
    /// `None`: only the service could tell, and it was not asked.
    pub store_exists: Option<bool>,
    pub files: u64,
    pub bytes: u64,
    /// MIME type, files, bytes.
    pub by_type: Vec<(String, u64, u64)>,
    pub largest: Vec<(String, u64)>,
    /// Those of which only what describes them has changed.
    pub described: u64,
    pub requests: u64,
    /// `None`: no limit is known.
    pub rate_per_min: Option<f64>,
    pub seconds: Option<f64>,
    pub storage_bytes: u64,
    pub cost_usd: f64,
    /// Sent by an earlier run, not yet indexed.
    pub in_flight: u64,
    pub skipped: u64,
}

impl UploadPlan {
    pub fn to_json(&self) -> Value {
        json!({
            "store": self.store, "store_exists": self.store_exists, "files": self.files,
            "bytes": self.bytes,
            "by_type": self.by_type.iter().map(|(mime, files, bytes)|
                json!({"mime": mime, "files": files, "bytes": bytes})).collect::<Vec<_>>(),
            "described": self.described, "requests": self.requests, "rate_per_min": self.rate_per_min,
            "seconds": self.seconds, "storage_bytes": self.storage_bytes,
            "cost_usd": self.cost_usd, "in_flight": self.in_flight, "skipped": self.skipped,
        })
    }

    pub fn to_text(&self) -> String {
        let store = one_line(&self.store);
        let known = match self.store_exists {
            Some(true) => "",
            Some(false) | None => " (looked up, or created, by the real run)",
        };
        let mut lines = vec![format!(
            "dry run: nothing is sent to store `{store}`{known}"
        )];
        let width = self
            .by_type
            .iter()
            .map(|(m, ..)| m.len())
            .max()
            .unwrap_or(0);
        for (mime, files, size) in &self.by_type {
            lines.push(format!(
                "  {:<width$}  {files:>8}  {:>10}",
                one_line(mime),
                bytes(*size)
            ));
        }
        lines.push(format!(
            "to send   {}, {}",
            count(self.files, "file"),
            bytes(self.bytes)
        ));
        if self.described > 0 {
            lines.push(format!(
                "of these  {} anew only because other metadata or chunking describes them",
                count(self.described, "file")
            ));
        }
        for (path, size) in &self.largest {
            lines.push(format!(
                "largest   {:>10}  {}",
                bytes(*size),
                one_line(path)
            ));
        }
        let pace = match (self.rate_per_min, self.seconds) {
            (Some(rate), Some(seconds)) => format!(
                "at {rate:.0} a minute about {}",
                time(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
            ),
            _ => "the rate is found while it runs".to_owned(),
        };
        lines.push(format!("requests  about {}; {pace}", self.requests));
        lines.push(format!(
            "storage   about {} at the service (text and embeddings)",
            bytes(self.storage_bytes)
        ));
        lines.push(format!(
            "cost      about USD {:.2} for indexing (a rough estimate)",
            self.cost_usd
        ));
        if self.in_flight > 0 {
            lines.push(format!(
                "besides   {} of an earlier run would be followed up",
                count(self.in_flight, "file")
            ));
        }
        if self.skipped > 0 {
            lines.push(format!(
                "skipped   {} by the last scan",
                count(self.skipped, "file")
            ));
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_well() {
        let plan = UploadPlan {
            store: "notes".to_owned(),
            store_exists: None,
            files: 3,
            bytes: 4_200_000,
            by_type: vec![
                ("application/pdf".to_owned(), 1, 4_000_000),
                ("text/plain".to_owned(), 2, 200_000),
            ],
            largest: vec![("a.pdf".to_owned(), 4_000_000)],
            described: 0,
            requests: 9,
            rate_per_min: Some(20.0),
            seconds: Some(18.0),
            storage_bytes: 12_600_000,
            cost_usd: 0.158,
            in_flight: 0,
            skipped: 1,
        };
        let expected = "\
dry run: nothing is sent to store `notes` (looked up, or created, by the real run)
  application/pdf         1      4.0 MB
  text/plain              2    200.0 kB
to send   3 files, 4.2 MB
largest       4.0 MB  a.pdf
requests  about 9; at 20 a minute about 18.0 s
storage   about 12.6 MB at the service (text and embeddings)
cost      about USD 0.16 for indexing (a rough estimate)
skipped   1 file by the last scan
";
        assert_eq!(plan.to_text(), expected);
    }
}
