//! The API key where a name was meant: in what is recorded, and would be sent.
//!
//! Promises: nothing is recorded or sent with a key in it that is known here. A scan needs none, and knows the one
//! that the environment has.

use std::path::Path;

use crate::app::Service;
use crate::app::folders::Folders;
use crate::cli::help::environment;
use crate::client::Secrets;
use crate::error::{Error, Kind};
use crate::names::ApiKey;

/// The key that the service is asked with; the embedded one takes any, so that another may be known.
pub fn of(service: &Service) -> Option<ApiKey> {
    match service {
        Service::Remote { key, .. } => Some(key.clone()),
        Service::Emulator => known(),
    }
}

/// The key that the environment has, if it has one that can be used.
pub fn known() -> Option<ApiKey> {
    let file = environment::set("OBJLIB_API_KEY_FILE").filter(|path| path != "-");
    let text = match file {
        Some(path) => super::key_file(Path::new(&path)).ok()?,
        None => super::key_of_environment().ok()??.1,
    };
    ApiKey::new(&text)
}

/// # Errors
/// One of the values, each with the name of its option, holds the key.
pub fn keep_out(key: Option<&ApiKey>, values: &[(&str, &str)]) -> Result<(), Error> {
    let Some(secrets) = key.map(Secrets::new) else {
        return Ok(());
    };
    match values.iter().find(|(_, value)| secrets.appear_in(value)) {
        None => Ok(()),
        Some((option, _)) => Err(Error::new(
            Kind::Usage,
            *option,
            "it contains the API key",
            "give another one; a key that others have seen is better replaced",
        )),
    }
}

/// The same for what holds for folders from now on; sidecars are looked at when they are read.
///
/// # Errors
/// As `keep_out`.
pub fn keep_out_of(folders: &mut Folders, key: Option<ApiKey>) -> Result<(), Error> {
    let given = &mut folders.options.given;
    let mut values = vec![("--library", folders.name.as_deref().unwrap_or_default())];
    values.extend(
        given
            .set
            .iter()
            .flatten()
            .map(|set| ("--set", set.as_str())),
    );
    values.extend(
        given
            .rules
            .iter()
            .flatten()
            .map(|rules| ("--metadata", rules.as_str())),
    );
    keep_out(key.as_ref(), &values)?;
    given.key = key;
    Ok(())
}
