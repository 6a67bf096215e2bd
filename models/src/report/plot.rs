//! Small SVG charts. Colours are classes of the page's style.

use std::fmt::Write;

use super::escape;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 46.0;

/// One axis: its name, ends, and how a value is written.
pub struct Axis<'a> {
    pub label: &'a str,
    pub low: f64,
    pub high: f64,
    pub unit: &'a dyn Fn(f64) -> String,
}

/// A chart in the making; what is drawn later lies above.
pub struct Plot {
    svg: String,
    x: [f64; 2],
    y: [f64; 2],
}

impl Plot {
    /// With numbers on both axes. `name` is read out to those who cannot see it.
    pub fn new(name: &str, x: Axis, y: Axis) -> Self {
        let mut plot = Self::empty(name, [x.low, x.high], &y);
        for tick in ticks(x.low, x.high) {
            plot.below(tick, &(x.unit)(tick));
        }
        plot.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0, "middle", x.label);
        plot
    }

    /// With names below; the n-th lies between n and n + 1.
    pub fn categories(name: &str, names: &[String], y: Axis) -> Self {
        let mut plot = Self::empty(name, [0.0, names.len() as f64], &y);
        // So many that they would run into each other: every other one, and so on.
        let letters = names.iter().map(|name| name.chars().count()).max().unwrap_or(1);
        let room = ((WIDTH - LEFT - RIGHT) / (letters as f64 * 7.5)) as usize;
        for (place, name) in names.iter().enumerate().step_by(names.len().div_ceil(room.max(1)).max(1)) {
            plot.below(place as f64 + 0.5, name);
        }
        plot
    }

    fn empty(name: &str, x: [f64; 2], y: &Axis) -> Self {
        let svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(name));
        let mut plot = Self { svg, x, y: [y.low, y.high] };
        for tick in ticks(y.low, y.high) {
            let at = plot.at([x[0], tick])[1];
            let _ = write!(plot.svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT);
            plot.text(LEFT - 6.0, at + 4.0, "end", &(y.unit)(tick));
        }
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let _ = write!(
            plot.svg,
            "<text transform=\"translate(12 {middle:.0}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(y.label)
        );
        plot
    }

    /// A line through the points, cut off at the edges.
    pub fn line(&mut self, class: &str, points: &[[f64; 2]]) {
        let path: Vec<String> =
            points.iter().map(|&point| self.at(point)).map(|[x, y]| format!("{x:.1} {y:.1}")).collect();
        let _ = write!(self.svg, "<path class=\"line {class}\" d=\"M{}\"/>", path.join("L"));
    }

    /// A dot that tells about itself when pointed at.
    pub fn dot(&mut self, class: &str, point: [f64; 2], told: &str) {
        let [x, y] = self.at(point);
        let told = escape(told);
        let _ = write!(
            self.svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{told}</title></circle>"
        );
    }

    /// From low to high at x.
    pub fn whisker(&mut self, class: &str, x: f64, low: f64, high: f64) {
        let ([x, low], [_, high]) = (self.at([x, low]), self.at([x, high]));
        let _ = write!(
            self.svg,
            "<path class=\"whisker {class}\" d=\"M{x:.1} {low:.1}V{high:.1}M{0:.1} {low:.1}H{1:.1}M{0:.1} {high:.1}H{1:.1}\"/>",
            x - 3.0,
            x + 3.0
        );
    }

    /// From the foot to y, with a text above.
    pub fn bar(&mut self, class: &str, [from, to]: [f64; 2], y: f64, told: &str) {
        let ([from, top], [to, foot]) = (self.at([from, y]), self.at([to, self.y[0]]));
        let (width, height) = (to - from, (foot - top).max(0.0));
        let _ = write!(
            self.svg,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
        self.text((from + to) / 2.0, top - 4.0, "middle", told);
    }

    /// The chart as an element of a page.
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }

    fn below(&mut self, x: f64, text: &str) {
        let [x, _] = self.at([x, self.y[0]]);
        self.text(x, HEIGHT - BOTTOM + 17.0, "middle", text);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        let _ = write!(self.svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let along = |value: f64, [low, high]: [f64; 2]| {
            let share = (value - low) / (high - low);
            if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
        };
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        [LEFT + wide * along(x, self.x), TOP + high * (1.0 - along(y, self.y))]
    }
}

/// Four to six round numbers between the ends.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![low];
    }
    let power = 10_f64.powi(rough.log10().floor() as i32);
    let step = power
        * [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().rfind(|step| step * power <= rough * 1.0001).unwrap_or(1.0);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|number| number as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(-130.0, 118.0), [-100.0, -50.0, 0.0, 50.0, 100.0]);
        assert_eq!(ticks(3.0, 3.0), [3.0]);
        for high in [0.0123, 0.07, 0.9, 1.7, 33.0, 123_456.0] {
            let ticks = ticks(0.0, high);
            assert!((4..=9).contains(&ticks.len()), "{high}: {ticks:?}");
        }
    }
}
