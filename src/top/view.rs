//! How the [`Model`] looks. Only the terminal's own sixteen colours, and only the foreground: it looks right on light
//! and dark ones. Whatever a colour says a word says as well.

use super::model::{Mode, Model, Series};
use crate::control::{
    render,
    types::{AppStatus, Health, size},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table},
};
use std::{collections::VecDeque, time::Duration};

/// Below this there is no room.
const WIDTH: u16 = 70;
const HEIGHT: u16 = 18;
/// Apps that are listed at most.
const APPS: u16 = 8;

/// Draws it; in colours where `colour`.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, colour: bool) {
    let area = frame.area();
    if area.width < WIDTH || area.height < HEIGHT {
        let text =
            format!("too small: {}x{}, and it takes {WIDTH}x{HEIGHT}\nq: quit", area.width, area.height);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let apps = model.status.as_ref().map_or(&[][..], |status| &status.apps);
    let rows = u16::try_from(apps.len()).unwrap_or(APPS).clamp(1, APPS);
    let app = apps.get(model.selected);
    let trouble = app.and_then(render::trouble);
    let [head, table, why, charts, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rows + 1),
        Constraint::Length(u16::from(trouble.is_some())),
        Constraint::Length(5),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(area);
    let paint = Paint(colour);
    frame.render_widget(Paragraph::new(headline(model, paint)), head);
    frame.render_widget(apps_table(model, apps, paint), table);
    if let (Some(app), Some(trouble)) = (app, trouble) {
        let line = Line::styled(format!("{}: {trouble}", app.name), paint.health(app.health));
        frame.render_widget(Paragraph::new(line), why);
    }
    if let Some((app, series)) = app.and_then(|app| Some((app, model.series.get(&app.name)?))) {
        draw_charts(frame, charts, app, series, paint);
        let [rooms, log] =
            Layout::horizontal([Constraint::Length(26), Constraint::Min(20)]).spacing(1).areas(below);
        draw_rooms(frame, rooms, app, series);
        draw_log(frame, log, model, app);
    }
    frame.render_widget(Paragraph::new(footline(model, paint)), foot);
}

/// Colours, where they are wanted.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, color: Color) -> Style {
        if self.0 { Style::new().fg(color) } else { Style::new() }
    }

    fn health(self, health: Health) -> Style {
        self.with(match health {
            Health::Ok => Color::Green,
            Health::Starting | Health::Degraded => Color::Yellow,
            Health::Unhealthy | Health::Stopped => Color::Red,
        })
    }
}

fn headline(model: &Model, paint: Paint) -> Line<'_> {
    let title = Span::styled("chatctl top  ", Style::new().add_modifier(Modifier::BOLD));
    if let Some(why) = &model.away {
        let what = if model.status.is_some() { "what is shown is old" } else { "nothing is known" };
        return Line::from(vec![
            title,
            Span::styled(format!("no supervisor answers, {what}: {why}"), paint.with(Color::Red)),
        ]);
    }
    let Some(status) = &model.status else {
        return Line::from(vec![title, Span::raw("asking the supervisor")]);
    };
    let supervisor = &status.supervisor;
    let up = humantime::format_duration(Duration::from_secs(supervisor.uptime_s)).to_string();
    let up: Vec<&str> = up.split(' ').take(2).collect();
    let mut spans = vec![title, Span::raw(format!("supervisor {} up {}  ", supervisor.pid, up.join(" ")))];
    let not_in_force = supervisor.config_problems.first().map(|problem| format!("not in force: {problem}"));
    if let Some(problem) = not_in_force.or_else(|| supervisor.problems.first().cloned()) {
        spans.push(Span::styled(problem, paint.with(Color::Red)));
    }
    Line::from(spans)
}

fn apps_table<'a>(model: &Model, apps: &'a [AppStatus], paint: Paint) -> Table<'a> {
    let head = ["  app", "state", "memory", "cpu", "clients", "rooms", "restarts", "health"];
    let skip = model.selected.saturating_sub(usize::from(APPS) - 1);
    let rows = apps.iter().enumerate().skip(skip).map(|(index, app)| {
        let selected = index == model.selected;
        let mark = if selected { "> " } else { "  " };
        let row = Row::new(vec![
            Cell::from(format!("{mark}{}", app.name)),
            Cell::from(app.state.clone()).style(paint.health(app.health)),
            Cell::from(render::memory(app)),
            Cell::from(render::cpu(app)),
            Cell::from(render::count(app, app.connections)),
            Cell::from(render::count(app, app.rooms)),
            Cell::from(app.restarts.to_string()),
            Cell::from(render::health(app)).style(paint.health(app.health)),
        ]);
        if selected { row.style(Style::new().add_modifier(Modifier::BOLD)) } else { row }
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(14),
        Constraint::Length(13),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(12),
    ];
    Table::new(rows, widths)
        .column_spacing(0)
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::UNDERLINED)))
}

fn draw_charts(frame: &mut Frame<'_>, area: Rect, app: &AppStatus, series: &Series, paint: Paint) {
    let last = |samples: &VecDeque<u64>| samples.back().copied().unwrap_or(0);
    let memory = match app.memory_limit_bytes {
        Some(limit) => format!("memory {} of {}", size(last(&series.memory)), size(limit)),
        None => format!("memory {}", size(last(&series.memory))),
    };
    let cpu = last(&series.cpu);
    let charts = [
        (memory, &series.memory, app.memory_limit_bytes, Color::Cyan),
        (format!("cpu {}.{}%", cpu / 10, cpu % 10), &series.cpu, Some(1000), Color::Magenta),
        (
            format!("said {}/s sent {}/s", last(&series.said), last(&series.sent)),
            &series.said,
            None,
            Color::Blue,
        ),
    ];
    let areas = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1).split(area);
    for ((title, samples, max, color), area) in charts.into_iter().zip(areas.iter()) {
        let block = Block::new().borders(Borders::TOP).title(title);
        let room = usize::from(block.inner(*area).width);
        let shown: Vec<u64> = samples.iter().skip(samples.len().saturating_sub(room)).copied().collect();
        let highest = shown.iter().copied().max().unwrap_or(0);
        let max = max.unwrap_or(0).max(highest).max(1);
        frame.render_widget(
            Sparkline::default().block(block).style(paint.with(color)).max(max).data(shown),
            *area,
        );
    }
}

fn draw_rooms(frame: &mut Frame<'_>, area: Rect, app: &AppStatus, series: &Series) {
    let block = Block::new().borders(Borders::TOP).title(format!("largest of {} rooms", app.rooms));
    let width = usize::from(block.inner(area).width).saturating_sub(9);
    let lines: Vec<Line<'_>> = series
        .rooms
        .iter()
        .map(|room| {
            let name: String = room.room.chars().filter(|c| !c.is_control()).take(width).collect();
            Line::from(format!("{:>7} {name}", room.members))
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, model: &Model, app: &AppStatus) {
    let filter = if model.filter.is_empty() { String::new() } else { format!(" with \"{}\"", model.filter) };
    let block = Block::new().borders(Borders::TOP).title(format!("log of {}{filter}", app.name));
    let rows = usize::from(block.inner(area).height);
    let mut lines: Vec<Line<'_>> =
        model.lines().rev().take(rows).map(|line| Line::from(shortened(line))).collect();
    lines.reverse();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Of what stands before each line the time of day will do.
fn shortened(line: &str) -> String {
    let parts = || {
        let (head, text) = line.split_once(" | ")?;
        let (date, time) = head.split_once('T')?;
        (date.len() == 10).then(|| format!("{} {text}", time.get(..8).unwrap_or(time)))
    };
    parts().unwrap_or_else(|| line.to_owned())
}

fn footline(model: &Model, paint: Paint) -> Line<'_> {
    match (&model.mode, &model.said) {
        (Mode::Sure(action, app), _) => Line::styled(
            format!("{action} {app}? y: yes, any other key: no"),
            paint.with(Color::Yellow).add_modifier(Modifier::BOLD),
        ),
        (Mode::Filter, _) => Line::from(format!("filter: {}_  Enter: keep, Esc: none", model.filter)),
        (Mode::Look, Some(said)) => Line::from(said.as_str()),
        (Mode::Look, None) => {
            Line::from("up/down: app  r: reload  R: restart  s: stop  S: start  /: filter  q: quit")
        }
    }
}
