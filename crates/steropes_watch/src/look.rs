//! What the network says about a frame, as plain numbers.

/// A pixel of the current frame and the pixel of the keyframe that shows the same point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// (x, y) in the current frame; whole numbers are pixel samples of the network's image.
    pub current: [f64; 2],
    /// (x, y) in the keyframe.
    pub key: [f64; 2],
    /// How much the network trusts it, above 0; only the order matters.
    pub confidence: f64,
}

/// What the network says about a frame and a keyframe before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Depth of each pixel along the optical axis in the network's own unit, row by row.
    pub depth: Vec<f32>,
    /// How much the network trusts it; at least 1.
    pub confidence: Vec<f32>,
    /// Matches with the keyframe.
    pub matches: Vec<Match>,
    /// Seconds from the keyframe to this frame; 0 if there is no keyframe.
    pub interval: f64,
}
