//! A safetensors file that grows while a video is read: features of hours need not be in memory at once.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Bytes that are kept free for the header, whose length is known at the end only; what is not needed is filled with spaces, as the format allows.
const HEADER_BYTES: usize = 1 << 16;

/// Writes `features` as they come, and what belongs to each clip at the end.
pub(crate) struct FeatureFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// Extents of the features of one clip.
    extents: Vec<usize>,
    name: &'static str,
    clips: usize,
    frames: usize,
    times: Vec<f64>,
    indices: Vec<i64>,
    taken: Vec<i64>,
}

impl FeatureFile {
    /// A new file at `path` for clips of `frames` frames with features of `extents` each, called `name`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn create(
        path: &Path,
        name: &'static str,
        extents: &[usize],
        frames: usize,
    ) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("writing `{}`", path.display()))?;
        let mut new = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            extents: extents.to_vec(),
            name,
            clips: 0,
            frames,
            times: Vec::new(),
            indices: Vec::new(),
            taken: Vec::new(),
        };
        new.write(&[0; 8 + HEADER_BYTES])?;
        Ok(new)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| format!("writing `{}`", self.path.display()))
    }

    /// Adds a clip: its features, and the time, the number and the count of its frames.
    ///
    /// # Errors
    /// The file cannot be written.
    ///
    /// # Panics
    /// A number of values is not that of the extents.
    pub(crate) fn add(
        &mut self,
        features: &[f32],
        times: &[f64],
        indices: &[u64],
        taken: usize,
    ) -> anyhow::Result<()> {
        assert_eq!(features.len(), self.extents.iter().product::<usize>(), "clips of one shape");
        assert!(
            times.len() == self.frames && indices.len() == self.frames,
            "a time and number for each frame"
        );
        let bytes: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.write(&bytes)?;
        self.clips += 1;
        self.times.extend_from_slice(times);
        self.indices.extend(indices.iter().map(|&i| i as i64));
        self.taken.push(taken as i64);
        Ok(())
    }

    /// The shape of all features together.
    pub(crate) fn shape(&self) -> Vec<usize> {
        [&[self.clips], &self.extents[..]].concat()
    }

    /// Writes the rest, and the header with `about` as its metadata.
    ///
    /// # Errors
    /// The file cannot be written, or the metadata is longer than there is room for.
    pub(crate) fn finish(mut self, about: &[(&str, String)]) -> anyhow::Result<()> {
        let eight = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let times = self.times.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (indices, taken) = (eight(&self.indices), eight(&self.taken));
        let (clips, frames) = (self.clips, self.frames);
        let features = 4 * self.shape().iter().product::<usize>();
        let mut header = Map::new();
        let about = about.iter().map(|(key, text)| ((*key).to_owned(), Value::from(text.clone()))).collect();
        header.insert("__metadata__".to_owned(), Value::Object(about));
        let mut end = 0;
        let mut entry = |name: &str, kind: &str, shape: &[usize], bytes: usize| {
            let place = [end, end + bytes];
            end += bytes;
            let about = json!({ "dtype": kind, "shape": shape, "data_offsets": place });
            header.insert(name.to_owned(), about);
        };
        // What follows has 8 bytes a value, and begins at a multiple of that.
        let padding = features % 8;
        entry(self.name, "F32", &self.shape(), features);
        if padding > 0 {
            entry("padding", "U8", &[padding], padding);
        }
        entry("times", "F64", &[clips, frames], times.len());
        entry("frames", "I64", &[clips, frames], indices.len());
        entry("taken", "I64", &[clips], taken.len());
        let mut text = Value::Object(header).to_string().into_bytes();
        if text.len() > HEADER_BYTES {
            bail!(
                "the header of `{}` would be too long: give the source a shorter name",
                self.path.display()
            );
        }
        text.resize(HEADER_BYTES, b' ');
        for part in [&vec![0; padding], &times, &indices, &taken] {
            self.write(part)?;
        }
        self.file.seek(SeekFrom::Start(0)).with_context(|| format!("writing `{}`", self.path.display()))?;
        self.write(&(HEADER_BYTES as u64).to_le_bytes())?;
        self.write(&text)?;
        self.file.flush().with_context(|| format!("writing `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn what_was_added_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.safetensors");
        let mut file = FeatureFile::create(&path, "tokens", &[1, 3], 2).unwrap();
        file.add(&[1.0, 2.0, 3.0], &[0.0, 0.25], &[0, 7], 2).unwrap();
        assert_eq!(file.shape(), [1, 1, 3]);
        file.finish(&[("model", "a \"b\"\n".to_owned())]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["model"], "a \"b\"\n");
        let tokens = tensors.tensor("tokens").unwrap();
        assert_eq!((tokens.shape(), &tokens.data()[4..8]), (&[1, 1, 3][..], &2f32.to_le_bytes()[..]));
        assert_eq!(tensors.tensor("times").unwrap().data()[8..], 0.25f64.to_le_bytes());
        assert_eq!(tensors.tensor("frames").unwrap().data()[8..], 7i64.to_le_bytes());
        assert_eq!(tensors.tensor("taken").unwrap().data(), 2i64.to_le_bytes());
        let long = FeatureFile::create(&path, "tokens", &[1], 1).unwrap();
        let error = long.finish(&[("source", "x".repeat(HEADER_BYTES))]).unwrap_err();
        assert!(error.to_string().contains("shorter name"), "{error}");
    }
}
