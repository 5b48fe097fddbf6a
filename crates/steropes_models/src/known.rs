//! Weights that are published, and on which terms.

use crate::Model;
use steropes_nn::Family;

/// The terms of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Licence {
    /// Apache-2.0.
    Apache2,
    /// CC BY-NC-SA 4.0: not for commercial use.
    CcByNcSa4,
    /// Naver's own licence for DUNE: not for commercial use.
    Dune,
    /// MIT or Apache-2.0: those who publish V-JEPA 2 state one or the other on the pages of its files.
    MitOrApache2,
}

impl Licence {
    /// Whether the terms rule out commercial use.
    pub fn is_non_commercial(self) -> bool {
        !matches!(self, Self::Apache2 | Self::MitOrApache2)
    }

    /// Where the text is.
    pub fn address(self) -> &'static str {
        match self {
            Self::Apache2 => "https://www.apache.org/licenses/LICENSE-2.0",
            Self::CcByNcSa4 => "https://creativecommons.org/licenses/by-nc-sa/4.0/",
            Self::Dune => DUNE,
            Self::MitOrApache2 => VJEPA2,
        }
    }
}

impl std::fmt::Display for Licence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Apache2 => "Apache-2.0",
            Self::CcByNcSa4 => "CC BY-NC-SA 4.0 (non-commercial)",
            Self::Dune => "DUNE licence (non-commercial)",
            Self::MitOrApache2 => "MIT or Apache-2.0, as its page says",
        })
    }
}

/// What a known file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Tensors of a network.
    Weights(Family),
    /// The visual words of image retrieval.
    Codebook,
}

impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Weights(family) => family.fmt(f),
            Self::Codebook => f.write_str("codebook of retrieval"),
        }
    }
}

/// A published weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// Short name, as `--model` takes it.
    pub name: &'static str,
    /// Name of the published file; empty for what is part of the program.
    pub file: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// What it is for.
    pub purpose: &'static str,
    /// On which terms.
    pub licence: Licence,
    /// Size in MiB, rounded; 0 if it is not known.
    pub mebibytes: u32,
    /// SHA-256 as 64 hexadecimal digits, if it is known.
    pub sha256: Option<&'static str>,
    /// The official address of the file, if it is known.
    pub address: Option<&'static str>,
    /// The page of those who publish it; empty for what is part of the program.
    pub page: &'static str,
}

const MAST3R: &str = "https://github.com/naver/mast3r";
const DUST3R: &str = "https://github.com/naver/dust3r";
const DUNE: &str = "https://github.com/naver/dune";
const VJEPA2: &str = "https://github.com/facebookresearch/vjepa2";

/// All known weights. Their publishers state no checksums, so only that of the built-in network is known.
pub const KNOWN_MODELS: &[KnownModel] = &[
    KnownModel {
        name: Model::EMBEDDED,
        file: "",
        holds: Holds::Weights(Family::Mast3r),
        purpose: "pairs to points and descriptors; built in",
        licence: Licence::Apache2,
        mebibytes: 31,
        sha256: Some("0ac27e0003a1f56ab38a03ca9b7c62b53083cba0def99181482dc40f45a4aae2"),
        address: None,
        page: "",
    },
    KnownModel {
        name: "mast3r",
        file: "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric.pth",
        holds: Holds::Weights(Family::Mast3r),
        purpose: "pairs to points in metres and descriptors",
        licence: Licence::CcByNcSa4,
        mebibytes: 2627,
        sha256: None,
        address: Some(
            "https://download.europe.naverlabs.com/ComputerVision/MASt3R/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric.pth",
        ),
        page: MAST3R,
    },
    KnownModel {
        name: "mast3r-retrieval",
        file: "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric_retrieval_trainingfree.pth",
        holds: Holds::Weights(Family::Retrieval),
        purpose: "similarity of photos, with mast3r",
        licence: Licence::CcByNcSa4,
        mebibytes: 8,
        sha256: None,
        address: Some(
            "https://download.europe.naverlabs.com/ComputerVision/MASt3R/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric_retrieval_trainingfree.pth",
        ),
        page: MAST3R,
    },
    KnownModel {
        name: "mast3r-codebook",
        file: "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric_retrieval_codebook.pkl",
        holds: Holds::Codebook,
        purpose: "similarity of photos, with mast3r-retrieval",
        licence: Licence::CcByNcSa4,
        mebibytes: 256,
        sha256: None,
        address: Some(
            "https://download.europe.naverlabs.com/ComputerVision/MASt3R/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric_retrieval_codebook.pkl",
        ),
        page: MAST3R,
    },
    dust3r("dust3r-512-dpt", "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth", 2179),
    dust3r("dust3r-512-linear", "DUSt3R_ViTLarge_BaseDecoder_512_linear.pth", 2031),
    dust3r("dust3r-224-linear", "DUSt3R_ViTLarge_BaseDecoder_224_linear.pth", 2031),
    dune_mast3r("dune-mast3r-small", "dunemast3r_cvpr25_vitsmall.pth", 1234),
    dune_mast3r("dune-mast3r-base", "dunemast3r_cvpr25_vitbase.pth", 1325),
    dune_encoder(
        "dune-small-336",
        "dune_vitsmall14_336.pth",
        109,
        "https://download.europe.naverlabs.com/dune/dune_vitsmall14_336.pth",
    ),
    dune_encoder(
        "dune-small-448",
        "dune_vitsmall14_448.pth",
        109,
        "https://download.europe.naverlabs.com/dune/dune_vitsmall14_448.pth",
    ),
    dune_encoder(
        "dune-base-336",
        "dune_vitbase14_336.pth",
        420,
        "https://download.europe.naverlabs.com/dune/dune_vitbase14_336.pth",
    ),
    dune_encoder(
        "dune-base-448",
        "dune_vitbase14_448.pth",
        420,
        "https://download.europe.naverlabs.com/dune/dune_vitbase14_448.pth",
    ),
    dune_encoder(
        "dune-base-448-paper",
        "dune_vitbase14_448_paper.pth",
        420,
        "https://download.europe.naverlabs.com/dune/dune_vitbase14_448_paper.pth",
    ),
    vjepa2("vjepa2-large", "vitl.pt", Some("https://dl.fbaipublicfiles.com/vjepa2/vitl.pt")),
    vjepa2("vjepa2-huge", "vith.pt", Some("https://dl.fbaipublicfiles.com/vjepa2/vith.pt")),
    vjepa2("vjepa2-giant", "vitg.pt", Some("https://dl.fbaipublicfiles.com/vjepa2/vitg.pt")),
    vjepa2("vjepa2-giant-384", "vitg-384.pt", Some("https://dl.fbaipublicfiles.com/vjepa2/vitg-384.pt")),
    // Those of the two largest of 2.1 differ only in the case of a letter, which some file systems do not tell apart.
    vjepa2("vjepa2.1-base-384", "vjepa2_1_vitb_dist_vitG_384.pt", None),
    vjepa2("vjepa2.1-large-384", "vjepa2_1_vitl_dist_vitG_384.pt", None),
];

/// Their publisher states no sizes.
const fn vjepa2(name: &'static str, file: &'static str, address: Option<&'static str>) -> KnownModel {
    KnownModel {
        name,
        file,
        holds: Holds::Weights(Family::VJepa),
        purpose: "clips to features",
        licence: Licence::MitOrApache2,
        mebibytes: 0,
        sha256: None,
        address,
        page: VJEPA2,
    }
}

/// Published on the page of DUSt3R; sizes follow from the number of weights in f32.
const fn dust3r(name: &'static str, file: &'static str, mebibytes: u32) -> KnownModel {
    KnownModel {
        name,
        file,
        holds: Holds::Weights(Family::Dust3r),
        purpose: "pairs to points",
        licence: Licence::CcByNcSa4,
        mebibytes,
        sha256: None,
        address: None,
        page: DUST3R,
    }
}

/// Decoders of MASt3R that stand on a DUNE encoder.
const fn dune_mast3r(name: &'static str, file: &'static str, mebibytes: u32) -> KnownModel {
    KnownModel {
        name,
        file,
        holds: Holds::Weights(Family::DuneMast3r),
        purpose: "pairs to points and descriptors, on a DUNE encoder",
        licence: Licence::Dune,
        mebibytes,
        sha256: None,
        address: None,
        page: DUNE,
    }
}

const fn dune_encoder(
    name: &'static str,
    file: &'static str,
    mebibytes: u32,
    address: &'static str,
) -> KnownModel {
    KnownModel {
        name,
        file,
        holds: Holds::Weights(Family::DuneEncoder),
        purpose: "encoder of images",
        licence: Licence::Dune,
        mebibytes,
        sha256: None,
        address: Some(address),
        page: DUNE,
    }
}

impl KnownModel {
    /// The known model of that name: its own, or that of its file with or without the ending.
    pub fn find(name: &str) -> Option<&'static Self> {
        KNOWN_MODELS.iter().find(|model| {
            model.name == name || !name.is_empty() && (model.file == name || model.file_stem() == name)
        })
    }

    /// The name of the file without its ending.
    pub fn file_stem(&self) -> &'static str {
        self.file.rsplit_once('.').map_or(self.file, |(stem, _)| stem)
    }

    /// Whether it is part of the program.
    pub fn is_embedded(&self) -> bool {
        self.name == Model::EMBEDDED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn names_and_files_are_found_and_are_unique() {
        for model in KNOWN_MODELS {
            for name in
                [model.name, model.file, model.file_stem()].into_iter().filter(|name| !name.is_empty())
            {
                assert_eq!(KnownModel::find(name), Some(model), "{name}");
            }
            assert!(model.address.is_none_or(|a| a.ends_with(&format!("/{}", model.file))), "{}", model.name);
            assert_eq!(model.is_embedded(), model.file.is_empty());
        }
        assert_eq!((KnownModel::find(""), KnownModel::find("mast3")), (None, None));
    }

    #[test]
    fn the_checksum_of_the_embedded_network_is_right() {
        let (_, weights) = Model::embedded_files();
        let embedded = KnownModel::find(Model::EMBEDDED).unwrap();
        assert_eq!(embedded.sha256, Some(format!("{:x}", Sha256::digest(weights)).as_str()));
        assert_eq!(u64::from(embedded.mebibytes), (weights.len() as u64 + (1 << 19)) >> 20);
    }
}
