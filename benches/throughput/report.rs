//! What is printed: the figures of every run as they come, and at the end one table with the aims.

use std::time::Duration;

use super::measure::Usage;
use super::pipelines::Shape;

/// What one process used for so many webhooks, and what their receiver used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) usage: Usage,
    pub(crate) receiver: Usage,
    pub(crate) webhooks: usize,
}

/// A run of the bridge and the run of the bare loop beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) bridge: Cost,
    pub(crate) bare: Cost,
}

/// The rows of the table, in the order of the measurements.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    result: String,
    aim: String,
    verdict: &'static str,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Cost {
    /// CPU time per webhook, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.usage.cpu.as_secs_f64() * 1e6 / self.webhooks as f64
    }

    /// Webhooks per second, start and end of the process included.
    pub(crate) fn per_second(&self) -> f64 {
        self.webhooks as f64 / self.usage.lasted.as_secs_f64()
    }

    fn print(&self, who: &str) {
        println!(
            "  {who:<9} {:>8.0} webhooks/s {:>7.1} µs CPU/webhook {:>6.1} MiB peak RSS   (receiver: {:.1} µs CPU/webhook)",
            self.per_second(),
            self.cpu(),
            self.usage.peak_rss as f64 / MIB,
            self.receiver.cpu.as_secs_f64() * 1e6 / self.webhooks as f64,
        );
    }
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.bridge.cpu() / self.bare.cpu()
    }

    fn print(&self) {
        self.bridge.print("bridge");
        self.bare.print("bare loop");
        println!("  ratio of CPU: {:.2}", self.ratio());
    }
}

impl Report {
    /// Prints the newest of the runs of one measurement.
    pub(crate) fn progress(&self, title: &str, pairs: &[Pair]) {
        if let Some(newest) = pairs.last() {
            println!("{title}, run {}", pairs.len());
            newest.print();
        }
    }

    pub(crate) fn cost(&mut self, shape: Shape, title: &str, pairs: &[Pair]) {
        let aim = match shape {
            Shape::Full | Shape::Jq => 1.45,
            Shape::PassThrough => 1.15,
        };
        let mut ratios: Vec<f64> = pairs.iter().map(Pair::ratio).collect();
        let (least, ratio, most) = spread(&mut ratios);
        let result = format!("{ratio:.2} × ({least:.2} to {most:.2})");
        self.row(format!("{title}: CPU against the bare loop"), result, format!("≤ {aim} ×"), ratio <= aim);
        let mut rates: Vec<f64> = pairs.iter().map(|pair| pair.bridge.per_second()).collect();
        self.note("  webhooks/s", format!("{:.0}", spread(&mut rates).1));
        let peak = pairs.iter().map(|pair| pair.bridge.usage.peak_rss).max().unwrap_or_default();
        self.memory(peak, 32.0);
    }

    pub(crate) fn sinks(&mut self, sinks: usize, ratios: &mut [f64], cpu: &mut [f64]) {
        let (least, ratio, most) = spread(ratios);
        let result = format!("{ratio:.2} × ({least:.2} to {most:.2})");
        let what = format!("{sinks} sinks, each behind a filter: CPU/event against one");
        self.row(what, result, "≤ 1.5 ×".to_owned(), ratio <= 1.5);
        self.note("  CPU/event", format!("{:.1} µs", spread(cpu).1));
    }

    pub(crate) fn rendering(&mut self, ratios: &mut [f64]) {
        let (least, ratio, most) = spread(ratios);
        let result = format!("{ratio:.2} × ({least:.2} to {most:.2})");
        self.row("full-feature, jq against the template: CPU".to_owned(), result, "≤ 1 ×".to_owned(), ratio <= 1.0);
    }

    pub(crate) fn slow_receiver(&mut self, bridge: f64, bare: f64) {
        let result = format!("{:.1} % (bare loop: {:.1} %)", bridge * 100.0, bare * 100.0);
        let what = "receiver takes 50 ms: share of concurrency/latency";
        self.row(what.to_owned(), result, "≥ 95 %".to_owned(), bridge >= 0.95);
    }

    pub(crate) fn first_delivery(&mut self, times: &mut [Duration]) {
        let mut milliseconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let (least, median, most) = spread(&mut milliseconds);
        let result = format!("{median:.0} ms ({least:.0} to {most:.0})");
        self.row("process start to first delivery".to_owned(), result, "≤ 100 ms".to_owned(), median <= 100.0);
    }

    pub(crate) fn kafka(&mut self, shape: Shape, events: usize, pair: Pair) {
        let title = format!("{}, {events} events from Kafka", shape.title());
        println!("{title}");
        pair.print();
        let what = format!("{title}: CPU against the bare loop");
        match shape {
            Shape::Full | Shape::Jq => {
                self.row(what, format!("{:.2} ×", pair.ratio()), "≤ 1.5 ×".to_owned(), pair.ratio() <= 1.5)
            }
            Shape::PassThrough => self.note(&what, format!("{:.2} ×", pair.ratio())),
        }
        self.note("  webhooks/s", format!("{:.0}", pair.bridge.per_second()));
        self.memory(pair.bridge.usage.peak_rss, 45.0);
    }

    pub(crate) fn parks(&mut self, engine: &str, parked: f64, inserted: f64) {
        let result = format!("{parked:.0}/s, {:.2} of plain inserts", parked / inserted);
        self.row(format!("{engine}: deliveries parked"), result, "≥ 10000/s".to_owned(), parked >= 10_000.0);
    }

    pub(crate) fn replays(&mut self, engine: &str, replayed: f64, bare: f64) {
        let result = format!("{replayed:.0}/s, {:.2} of the bare loop", replayed / bare);
        let what = format!("{engine}: parked deliveries claimed, attempted, finished");
        self.row(what, result, "≥ 5000/s".to_owned(), replayed >= 5_000.0);
    }

    pub(crate) fn backlog(&mut self, what: &str, first_delivery: Duration, peak_rss: u64) {
        let milliseconds = first_delivery.as_secs_f64() * 1e3;
        let result = format!("{milliseconds:.0} ms");
        self.row(format!("{what}: start to first delivery"), result, "≤ 500 ms".to_owned(), milliseconds <= 500.0);
        self.memory(peak_rss, 60.0);
    }

    pub(crate) fn beside(&mut self, what: &str, throughputs: &mut [f64], cpu_times: &mut [f64]) {
        let (least, ratio, most) = spread(throughputs);
        let result = format!("{ratio:.3} ({least:.3} to {most:.3})");
        self.row(format!("{what}: healthy sink"), result, "≥ 0.95".to_owned(), ratio >= 0.95);
        let (least, ratio, most) = spread(cpu_times);
        self.note("  CPU of the bridge, both sinks", format!("{ratio:.3} ({least:.3} to {most:.3})"));
    }

    pub(crate) fn goaway(&mut self, what: &str, throughputs: &mut [f64], cpu_times: &mut [f64]) {
        let (least, ratio, most) = spread(throughputs);
        let result = format!("{ratio:.2} ({least:.2} to {most:.2})");
        self.row(format!("{what}: throughput"), result, "≥ 0.80".to_owned(), ratio >= 0.8);
        let (least, ratio, most) = spread(cpu_times);
        self.note("  CPU of the bridge", format!("{ratio:.2} × ({least:.2} to {most:.2})"));
    }

    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        self.rows.push(Row { what: what.to_owned(), result: why.to_owned(), aim: String::new(), verdict: "skipped" });
    }

    pub(crate) fn print(&self) {
        println!("\n{:<68} {:<38} {:<10}", "measured", "result (median, least to most)", "aim");
        for Row { what, result, aim, verdict } in &self.rows {
            println!("{what:<68} {result:<38} {aim:<10} {verdict}");
        }
    }

    fn memory(&mut self, peak: u64, aim: f64) {
        let peak = peak as f64 / MIB;
        self.row("  peak RSS".to_owned(), format!("{peak:.1} MiB"), format!("≤ {aim} MiB"), peak <= aim);
    }

    fn row(&mut self, what: String, result: String, aim: String, is_met: bool) {
        self.rows.push(Row { what, result, aim, verdict: if is_met { "OK" } else { "MISSED" } });
    }

    fn note(&mut self, what: &str, result: String) {
        self.rows.push(Row { what: what.to_owned(), result, aim: String::new(), verdict: "" });
    }
}

/// The least, the median and the most.
fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    (values[0], median, values[values.len() - 1])
}
