fn activated(x: Quad) -> Quad {
    return x * sigmoid(x).value;
}
fn slope(x: Quad) -> Quad {
    let s = sigmoid(x);
    return s.value + x * s.slope;
}
