//! Images in a vault: each version is a point, kept under the image's name, whose description says which it is.

use super::check::Finding;
use crate::error::{Doing, Result};
use model::Owner;
use model::image::{ImageName, ImageRef, Version, meant, next_version};
use serde::{Deserialize, Serialize};
use vault::{MachineKey, Point, Vault};

/// Where it stands in a point's description.
const KEY: &str = "image";

/// What a point says of the version that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The image.
    pub name: String,
    /// The version, from 1 on.
    pub version: u32,
    /// Whether it is left out when no version is said.
    #[serde(default)]
    pub excluded: bool,
    /// What it was made of.
    pub from: String,
    /// What of that machine's identity is in it: nothing in a generalised one.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The systems that were looked into.
    #[serde(default)]
    pub systems: Vec<String>,
}

impl ImageRecord {
    /// What a point says; nothing if it is no image.
    pub fn of(point: &Point) -> Option<Self> {
        let is_image = Owner::of_key(point.machine.as_str()) == Owner::Image;
        serde_json::from_value(point.description.get(KEY)?.clone()).ok().filter(|_| is_image)
    }

    /// Whether it was found to be nobody's.
    pub fn is_generalised(&self) -> bool {
        !self.systems.is_empty() && self.findings.is_empty()
    }

    /// In words: `web:3`.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// Writes it into a description.
    pub(super) fn put(&self, description: &mut serde_json::Value) {
        description[KEY] = serde_json::to_value(self).expect("plain data");
    }
}

/// Under what name an image's versions are kept.
pub(super) fn key_of(name: &ImageName) -> Result<MachineKey> {
    MachineKey::new(Owner::Image.key(name)).doing(|| format!("name the image {name}"))
}

/// A version of an image.
#[derive(Clone, Debug)]
pub struct ImageVersion {
    /// What it says of itself.
    pub record: ImageRecord,
    /// Its disks.
    pub point: Point,
}

impl ImageVersion {
    fn of(point: Point) -> Option<Self> {
        Some(Self { record: ImageRecord::of(&point)?, point })
    }

    fn version(&self) -> Version {
        Version { number: self.record.version, excluded: self.record.excluded }
    }
}

/// The versions of one image in a vault, or of all images, by name and number.
pub async fn images(vault: &Vault, name: Option<&ImageName>) -> Result<Vec<ImageVersion>> {
    let key = name.map(key_of).transpose()?;
    let survey = vault.survey(key.as_ref()).await.doing(|| "list the images".to_owned())?;
    let mut versions: Vec<ImageVersion> = survey.points.into_iter().filter_map(ImageVersion::of).collect();
    versions.sort_by(|one, other| {
        (&one.record.name, one.record.version, one.point.id).cmp(&(
            &other.record.name,
            other.record.version,
            other.point.id,
        ))
    });
    Ok(versions)
}

/// The version that is meant.
///
/// # Errors
/// `NotFound` if there is none; `Conflict` if two captures that knew nothing of each other gave it one number.
pub async fn image(vault: &Vault, wanted: &ImageRef) -> Result<ImageVersion> {
    let doing = || format!("find the image {wanted}");
    let versions = images(vault, Some(&wanted.name)).await?;
    let known: Vec<Version> = versions.iter().map(ImageVersion::version).collect();
    let number = meant(&known, wanted.version);
    let mut meant = versions.into_iter().filter(|one| Some(one.record.version) == number);
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            let why = match known.is_empty() {
                true => format!("the vault has no image {}", wanted.name),
                false => {
                    let numbers: Vec<String> = known.iter().map(|one| one.number.to_string()).collect();
                    format!("the image {} has the versions {}", wanted.name, numbers.join(", "))
                }
            };
            Err(vault::Error::new(vault::ErrorKind::NotFound, why)).doing(doing)
        }
        (Some(one), Some(other)) => {
            let why = format!("the points {} and {} both are it: delete one", one.point.id, other.point.id);
            Err(vault::Error::new(vault::ErrorKind::Conflict, why)).doing(doing)
        }
    }
}

/// The number of an image's next version. One that was deleted keeps its own, as long as the vault remembers it.
pub(super) async fn next(vault: &Vault, name: &ImageName) -> Result<u32> {
    let deleted = vault.deleted_points().await.doing(|| "list deleted images".to_owned())?;
    let deleted =
        deleted.into_iter().filter_map(ImageVersion::of).filter(|one| one.record.name == name.as_str());
    let all = images(vault, Some(name)).await?.into_iter().chain(deleted);
    let ever: Vec<Version> = all.map(|one| one.version()).collect();
    Ok(next_version(&ever))
}
