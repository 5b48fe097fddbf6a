//! Settings for common uses.

use super::EngineConfig;

/// Settings for a use, as data: a TOML text that can be saved and changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The settings in TOML, as [`EngineConfig::from_toml`] reads them.
    pub toml: &'static str,
}

/// All presets. Those with another model than the built-in one need its weights: `steropes models fetch`.
///
/// | name | model | pixels | for |
/// |---|---|---|---|
/// | `quick` | built in | 256 | previews and tracking |
/// | `standard` | built in | 384 | as without settings |
/// | `drone-fast` | DUNE ViT-S | 336 | tracking in flight |
/// | `drone-quality` | DUNE ViT-B | 448 | keyframes in flight |
/// | `precise` | MASt3R ViT-L | 512 | the most exact answers, in f32 |
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "quick",
        purpose: "previews and tracking with the built-in network",
        toml: "\
model = 'steropes-tiny'
image_size = 256

[matching]
top_k = 512
",
    },
    Preset {
        name: "standard",
        purpose: "the built-in network as it is without settings",
        toml: "\
model = 'steropes-tiny'
image_size = 384

[matching]
top_k = 512
subsample = 4
",
    },
    Preset {
        name: "drone-fast",
        purpose: "tracking in flight: the small network on a DUNE encoder",
        toml: "\
model = 'dune-mast3r-small'
image_size = 336

[matching]
top_k = 512
",
    },
    Preset {
        name: "drone-quality",
        purpose: "keyframes in flight: the larger network on a DUNE encoder",
        toml: "\
model = 'dune-mast3r-base'
image_size = 448

[matching]
top_k = 1024
",
    },
    Preset {
        name: "precise",
        purpose: "the most exact answers: MASt3R in f32, every second pixel matched",
        toml: "\
model = 'mast3r'
precision = 'f32'
image_size = 512

[matching]
top_k = 2048
subsample = 2
",
    },
];

impl Preset {
    /// The preset of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Its settings.
    ///
    /// # Panics
    /// Never: a test reads all of them.
    pub fn config(&self) -> EngineConfig {
        EngineConfig::from_toml(self.name, self.toml).expect("presets are sound settings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Holds, KnownModel};

    #[test]
    fn presets_are_sound_and_name_networks_for_pairs() {
        for preset in PRESETS {
            assert_eq!(Preset::find(preset.name), Some(preset));
            let config = preset.config();
            config.check().unwrap();
            let known = KnownModel::find(&config.model).expect(preset.name);
            assert!(known.purpose.starts_with("pairs"), "{}", preset.name);
            assert!(matches!(known.holds, Holds::Weights(_)));
        }
        assert_eq!(Preset::find("standard").unwrap().config(), EngineConfig::default());
        assert_eq!(Preset::find("nothing"), None);
    }
}
