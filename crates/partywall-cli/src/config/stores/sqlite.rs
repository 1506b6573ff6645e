//! SQLite targets: directories of files.

use std::path::PathBuf;

use partywall::DeploymentModel;
use serde::Serialize;

use super::super::{Reading, document::Section};

/// A directory of SQLite files.
#[derive(Debug, Serialize)]
pub(crate) struct SqliteTarget {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// What it is used for.
    pub(crate) models: Vec<DeploymentModel>,
}

impl SqliteTarget {
    pub(super) fn read(mut section: Section<'_, '_>, reading: &Reading<'_>) -> Option<Self> {
        const MODELS: &str = r#"models = ["pool", "bridge"]"#;
        let directory = section.required::<String>("directory", r#"directory = "data""#);
        let models = section.required::<Vec<DeploymentModel>>("models", MODELS);
        if let Some(models) = &models {
            let (span, models) = (models.span(), models.get_ref());
            if models.is_empty() {
                let fix = format!("write `{MODELS}`");
                section.fault_at(&span, "models", "a target that can do no model", fix);
            }
            if models.contains(&DeploymentModel::Silo) && models.len() > 1 {
                let fix = "give the silo a target of its own";
                section.fault_at(&span, "models", "a silo is shared with nobody", fix);
            }
        }
        section.finish();
        let directory = reading.path(directory?.get_ref());
        Some(Self { directory, models: models?.into_inner() })
    }
}
