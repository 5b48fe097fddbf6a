struct Sigmoid { value: Quad, slope: Quad }

// 1 / (1 + e^-v) and its derivative, of an exponential that is at most 1.
fn sigmoid(v: Quad) -> Sigmoid {
    let e = exp(-abs(v));
    let high = 1.0 / (1.0 + e);
    let low = e * high;
    return Sigmoid(select(high, low, v < Quad(0.0)), low * high);
}
