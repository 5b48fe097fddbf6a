// x/2 (1 + tanh(v/2)) = x σ(v) with v = 2 sqrt(2/π) (x + 0.044715 x³); from 20 on it is x or 0.
fn activated(x: Quad) -> Quad {
    let t = clamp(x, Quad(-20.0), Quad(20.0));
    return x * sigmoid(t * (t * t * 0.07135482 + 1.5957692)).value;
}
fn slope(x: Quad) -> Quad {
    let t = clamp(x, Quad(-20.0), Quad(20.0));
    let s = sigmoid(t * (t * t * 0.07135482 + 1.5957692));
    // Apart, fast math may multiply x by the sum first, which overflows for the largest x, whose slope is 0.
    return fma(x, s.slope * (t * t * 0.21406446 + 1.5957692), s.value);
}
