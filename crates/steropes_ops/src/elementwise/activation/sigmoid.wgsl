struct Sigmoid { value: Quad, slope: Quad }

// 1 / (1 + e^-v) and its derivative, of an exponential that is at most 1.
fn sigmoid(v: Quad) -> Sigmoid {
    // From 200 on it is 0; products on the way to it stay finite.
    let e = exp(-min(abs(v), Quad(200.0)));
    let high = 1.0 / (1.0 + e);
    let low = e * high;
    return Sigmoid(select(high, low, v < Quad(0.0)), low * high);
}
