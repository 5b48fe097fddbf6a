//! How kernels that memory limits see a tensor: in packs of 16 bytes, computed in f32.

use steropes_tensor::{DType, Header};

/// What one load of a kernel takes from an f32 or f16 tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packs {
    dtype: DType,
    /// Elements of a pack.
    pub(crate) lanes: usize,
}

impl Packs {
    /// 16 bytes.
    pub(crate) fn wide(dtype: DType) -> Self {
        Self { dtype, lanes: 16 / dtype.size_bytes() }
    }

    /// 16 bytes where rows of `row_len` elements are made of them, else one element.
    pub(crate) fn of_rows(dtype: DType, row_len: usize) -> Self {
        let wide = Self::wide(dtype);
        if row_len.is_multiple_of(wide.lanes) { wide } else { Self { dtype, lanes: 1 } }
    }

    /// Bytes of a pack.
    pub(crate) fn bytes(self) -> usize {
        self.lanes * self.dtype.size_bytes()
    }

    /// The header with these names:
    ///
    /// - `Pack`: a pack as it is stored
    /// - `Quad`: four elements in f32, or one where a pack is one element
    /// - `QUADS`: the number of them in a pack; `Quads`: all of them
    /// - `LANES`: elements of a pack
    /// - `unpacked(Pack) -> Quads` and `packed(Quads) -> Pack`
    /// - `rounded(Quads, zero: u32) -> Quads`: as they are after they were stored. `zero` is 0 for a reason that compilers do not
    ///   know: some leave a way to f16 and back out.
    /// - `sum_of(Quad) -> f32`, `largest_of(Quad) -> f32`
    pub(crate) fn header(self, header: Header) -> Header {
        let header = header.count("LANES", self.lanes as u32);
        match (self.lanes, self.dtype) {
            (1, DType::F16) => {
                let text = "fn rounded(q: Quads, zero: u32) -> Quads {
    return Quads(unpack2x16float(pack2x16float(vec2<f32>(q[0], 0.0)) | zero).x);
}
";
                header.element(DType::F16).text(include_str!("pack_element.wgsl")).text(text)
            }
            (1, dtype) => header.element(dtype).text(include_str!("pack_element.wgsl")).text(UNROUNDED),
            (_, DType::F16) => header.text(include_str!("pack_f16.wgsl")),
            _ => header.text(include_str!("pack_f32.wgsl")).text(UNROUNDED),
        }
    }
}

const UNROUNDED: &str = "fn rounded(q: Quads, zero: u32) -> Quads { return q; }\n";

/// The widest unsigned integers that rows of all of `row_bytes` bytes are made of, for kernels that only move memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Bytes: 16, 8, 4 or 2.
    pub(crate) bytes: usize,
}

impl Unit {
    /// The unit of rows of f32 or f16.
    pub(crate) fn of_rows(row_bytes: &[usize]) -> Self {
        let fits = |unit: &usize| row_bytes.iter().all(|bytes| bytes % unit == 0);
        Self { bytes: [16, 8, 4].into_iter().find(fits).unwrap_or(2) }
    }

    /// The header with the alias `Unit`. Two bytes are an f16, which every device that holds an f16 tensor has.
    pub(crate) fn header(self, header: Header) -> Header {
        match self.bytes {
            16 => header.alias("Unit", "vec4<u32>"),
            8 => header.alias("Unit", "vec2<u32>"),
            4 => header.alias("Unit", "u32"),
            _ => header.enable("f16").alias("Unit", "f16"),
        }
    }
}
