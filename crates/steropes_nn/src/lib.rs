//! Layers (named weights plus ops) and the reading of weight files.
