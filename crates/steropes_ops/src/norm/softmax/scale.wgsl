struct Place { first: u32, slot: u32, inside: bool }

// The lowest finite value.
const LOWEST: f32 = -3.4028234663852886e38;

// What finishes the exponentials: a factor, or the logarithm that is taken off. Where all values are -inf, nothing was added
// up, and there is no result; arithmetic with infinities alone would not say so on every device.
fn scale_of(sum: Quads, nan: f32) -> Quads {
    var scale: Quads;
    for (var q = 0u; q < QUADS; q++) {
        if (LOG) {
            scale[q] = log(sum[q]);
        } else {
            scale[q] = 1.0 / sum[q];
        }
        scale[q] = select(scale[q], Quad(nan), sum[q] == Quad());
    }
    return scale;
}
