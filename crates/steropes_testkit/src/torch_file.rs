//! Files as `torch.save` lays them out, sound and otherwise, for tests of their reader.

use std::io::{Cursor, Write as _};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A pickle of protocol 2, written value by value.
#[derive(Clone, Debug)]
pub struct Pickle(Vec<u8>);

impl Default for Pickle {
    fn default() -> Self {
        Self(vec![0x80, 2])
    }
}

impl Pickle {
    /// Instructions as they are.
    #[must_use]
    pub fn raw(mut self, instructions: &[u8]) -> Self {
        self.0.extend_from_slice(instructions);
        self
    }

    /// A text.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    /// An integer.
    #[must_use]
    pub fn int(self, int: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&int.to_le_bytes())
    }

    /// A class or function by the name of its module and its own.
    #[must_use]
    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// A tuple of integers.
    #[must_use]
    pub fn ints(self, ints: &[i64]) -> Self {
        ints.iter().fold(self.raw(b"("), |pickle, &int| pickle.int(int)).raw(b"t")
    }

    /// A tensor of `shape` from element `offset` of the storage `key`, which has `count` elements of `class`.
    #[must_use]
    pub fn tensor(
        self,
        class: &str,
        key: &str,
        count: i64,
        offset: i64,
        shape: &[i64],
        strides: &[i64],
    ) -> Self {
        let storage = self.global("torch._utils", "_rebuild_tensor_v2").raw(b"((").text("storage");
        let storage = storage.global("torch", class).text(key).text("cpu").int(count).raw(b"tQ");
        let tensor = storage.int(offset).ints(shape).ints(strides).raw(b"\x89");
        tensor.global("collections", "OrderedDict").raw(b")RtR")
    }

    /// An `argparse.Namespace` with one text in it.
    #[must_use]
    pub fn namespace(self, field: &str, text: &str) -> Self {
        self.global("argparse", "Namespace").raw(b")\x81}").text(field).text(text).raw(b"sb")
    }

    /// The bytes, with the end of the pickle.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// A zip archive of entries that are not compressed and lie at multiples of 64 bytes.
///
/// # Panics
/// If two entries have one name.
pub fn archive<N: AsRef<str>, B: AsRef<[u8]>>(entries: &[(N, B)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    for (name, bytes) in entries {
        writer.start_file(name.as_ref(), options).expect("names differ");
        writer.write_all(bytes.as_ref()).expect("memory takes all");
    }
    writer.finish().expect("memory takes all").into_inner()
}

/// A checkpoint of f32 tensors under `model`, with `args.model` beside them; each pair of `aliases` is another name and
/// the name of the tensor that it stands for.
///
/// # Panics
/// If an alias stands for no tensor.
pub fn checkpoint(
    args: &str,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    aliases: &[(String, String)],
) -> Vec<u8> {
    let of = |source: &str| {
        tensors.iter().position(|(name, ..)| name == source).expect("aliases stand for tensors")
    };
    let mut pickle = Pickle::default().raw(b"}(").text("args").namespace("model", args).text("model");
    pickle = pickle.global("collections", "OrderedDict").raw(b")R(");
    let names = tensors.iter().enumerate().map(|(i, (name, ..))| (name, i));
    for (name, i) in names.chain(aliases.iter().map(|(alias, source)| (alias, of(source)))) {
        let (_, shape, values) = &tensors[i];
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let strides: Vec<i64> = (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect();
        let count = values.len() as i64;
        pickle = pickle.text(name).tensor("FloatStorage", &i.to_string(), count, 0, &shape, &strides);
    }
    let mut entries = vec![("archive/data.pkl".to_owned(), pickle.raw(b"uu").end())];
    entries.push(("archive/byteorder".to_owned(), b"little".to_vec()));
    for (i, (_, _, values)) in tensors.iter().enumerate() {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        entries.push((format!("archive/data/{i}"), bytes));
    }
    archive(&entries)
}
