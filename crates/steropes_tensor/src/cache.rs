//! Where files are kept between runs.

use std::path::PathBuf;

/// The folder for what is kept between runs: `STEROPES_CACHE`, else `steropes` in the cache folder of the system; `None` if
/// there is none. It need not exist.
pub fn cache_folder() -> Option<PathBuf> {
    match std::env::var_os("STEROPES_CACHE") {
        Some(path) => Some(PathBuf::from(path)),
        None => Some(dirs::cache_dir()?.join("steropes")),
    }
}
