// The page redraws itself completely from each message of /events. Data of requests comes from clients and is untrusted, so it
// is only ever inserted as text.
'use strict';

const byID = id => document.getElementById(id);

// element makes <name class=…>children</name>; strings become text.
function element(name, className, ...children) {
  const e = document.createElement(name);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

function duration(ms) {
  if (!ms) return '0';
  if (ms < 1) return Math.round(ms * 1000) + ' µs';
  if (ms < 10) return ms.toFixed(1) + ' ms';
  if (ms < 1000) return Math.round(ms) + ' ms';
  if (ms < 60000) return (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + ' s';
  return Math.floor(ms / 60000) + ' min ' + Math.round(ms % 60000 / 1000) + ' s';
}

function count(n) {
  if (n >= 1e9) return (n / 1e9).toFixed(1) + ' G';
  if (n >= 1e6) return (n / 1e6).toFixed(1) + ' M';
  if (n >= 1e4) return (n / 1e3).toFixed(n < 1e5 ? 1 : 0) + ' k';
  if (n >= 10 || n === Math.round(n)) return String(Math.round(n));
  return n.toFixed(1);
}

function long(seconds) {
  const d = Math.floor(seconds / 86400), h = Math.floor(seconds / 3600) % 24, m = Math.floor(seconds / 60) % 60;
  if (d) return d + ' d ' + h + ' h';
  if (h) return h + ' h ' + m + ' min';
  return m ? m + ' min ' + Math.floor(seconds % 60) + ' s' : Math.floor(seconds) + ' s';
}

const times = (n, one, many) => count(n) + ' ' + (n === 1 ? one : many);

// canvasOf sizes a canvas to its box in device pixels and clears it.
function canvasOf(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const c = canvas.getContext('2d');
  c.clearRect(0, 0, width, height);
  return [c, width, height];
}

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// drawColumns draws a column for each step: its height is the share of time that the loop was busy. Overruns have full height and
// another colour.
function drawColumns(canvas, columns) {
  const [c, width, height] = canvasOf(canvas);
  const busy = colour('--busy'), over = colour('--over');
  const step = width / columns.length, gap = step >= 4 ? 1 : 0;
  for (let i = 0; i < columns.length; i++) {
    const k = columns[i];
    if (k === '.') continue;
    const share = k === 'x' ? 1 : Math.max(k / 9, 0.07);
    c.fillStyle = k === 'x' ? over : busy;
    const left = Math.round(i * step), right = Math.round((i + 1) * step) - gap;
    c.fillRect(left, height - Math.round(share * height), Math.max(right - left, 1), Math.round(share * height));
  }
}

function drawRates(canvas, rates) {
  const [c, width, height] = canvasOf(canvas);
  const most = Math.max(...rates, 1), line = Math.max(1.5 * (window.devicePixelRatio || 1), 1);
  const x = i => i * width / (rates.length - 1), y = r => height - line - r / most * (height - 3 * line);
  c.beginPath();
  rates.forEach((r, i) => c.lineTo(x(i), y(r)));
  c.strokeStyle = colour('--busy');
  c.lineWidth = line;
  c.lineJoin = 'round';
  c.stroke();
  c.lineTo(width, height);
  c.lineTo(0, height);
  c.globalAlpha = 0.12;
  c.fillStyle = colour('--busy');
  c.fill();
  c.globalAlpha = 1;
}

function drawTiles(f) {
  setText(byID('rate'), count(f.rate));
  setText(byID('p50'), duration(f.p50_ms));
  setText(byID('p99'), duration(f.p99_ms));
  setText(byID('p999'), duration(f.p999_ms));
  setText(byID('lag50'), duration(f.lag_p50_ms));
  setText(byID('lag99'), duration(f.lag_p99_ms));
  setText(byID('conns'), count(f.conns));
  setText(byID('active'), count(f.active));
  setText(byID('out'), count(f.bytes_out));
  setText(byID('in'), count(f.bytes_in));
  setText(byID('failures'), count(f.failures));
  setText(byID('refused'), count(f.refused));
  setText(byID('budget'), duration(f.budget_ms));
  setText(byID('uptime'), 'up ' + long(f.uptime_s));
  setText(byID('instance'), [f.host, f.addr, 'pid ' + f.pid, f.version].filter(Boolean).join(' · '));
  document.title = 'tafe · ' + f.host;
  drawRates(byID('rates'), f.rates);
}

const statuses = {ok: 'serving', draining: 'draining', stuck: 'a loop is stuck'};

function drawStatus(name, text) {
  const e = byID('status');
  e.className = 'pill ' + name;
  setText(e, text);
}

function drawLoops(f) {
  const list = byID('loops');
  while (list.children.length < f.lanes.length) {
    const canvas = element('canvas');
    canvas.setAttribute('role', 'img');
    list.append(element('li', '', element('span', 'name', 'loop ' + list.children.length), canvas, element('span', 'now')));
  }
  f.lanes.forEach((row, i) => {
    const li = list.children[i], now = li.querySelector('.now'), canvas = li.querySelector('canvas');
    li.className = row.state;
    let what = 'waiting · ' + times(row.tasks, 'task', 'tasks') + ' · ' + times(row.conns, 'connection', 'connections');
    if (row.state === 'overrun') what = 'held for ' + duration(row.for_ms) + ' by ' + (row.path || (row.callback ? 'a callback' : 'a task'));
    else if (row.state === 'busy') what = 'busy · ' + times(row.tasks, 'task', 'tasks') + ' · ' + times(row.conns, 'connection', 'connections');
    if (row.waiting) what += ' · ' + row.waiting + ' waiting';
    if (row.released) what += ' · ' + row.released + ' released';
    if (row.handoffs) what += ' · ' + times(row.handoffs, 'handoff', 'handoffs');
    setText(now, what);
    now.title = what;
    const over = row.columns.split('x').length - 1;
    canvas.setAttribute('aria-label', 'loop ' + row.loop + ': ' + what + '; overruns in ' + over + ' of the last 120 half seconds');
    drawColumns(canvas, row.columns);
  });
}

// drawCulprits keeps the elements of each culprit, so that open rows stay open and the focus stays in place.
const culprits = new Map();

function drawCulprits(f) {
  const list = byID('culprits'), none = byID('no-culprits');
  none.hidden = f.culprits.length > 0;
  setText(none, f.watchdog ? 'No code has run for longer than its budget.' : 'The watchdog is off.');
  const most = Math.max(...f.culprits.map(c => c.victim_ms), 1);
  const present = new Set();
  f.culprits.forEach((c, i) => {
    present.add(c.key);
    let item = culprits.get(c.key);
    if (!item) {
      item = culpritItem(c);
      culprits.set(c.key, item);
    }
    fillCulprit(item, c, most);
    // Moving an element removes the focus from it, so only elements that are out of place are moved.
    if (list.children[i] !== item.li) {
      const focused = document.activeElement;
      list.insertBefore(item.li, list.children[i] || null);
      if (focused && item.li.contains(focused)) focused.focus({preventScroll: true});
    }
  });
  for (const [key, item] of culprits) {
    if (present.has(key)) continue;
    item.li.remove();
    culprits.delete(key);
  }
}

function culpritItem(c) {
  const item = {
    verdict: element('span', 'verdict'), route: element('b'), place: element('span'), cost: element('b'), counts: element('span'),
    small: element('span', 'counts'), share: element('i'), more: element('div', 'more'),
  };
  const share = element('span', 'share', item.share);
  const summary = element('summary', '', item.verdict, element('span', 'place', item.route, item.place), element('span', 'cost', item.cost, item.counts), item.small, share);
  item.details = element('details', '', summary, item.more);
  item.details.dataset.key = c.key;
  item.details.addEventListener('toggle', () => item.details.open && fillMore(item));
  item.li = element('li', '', item.details);
  return item;
}

function fillCulprit(item, c, most) {
  setText(item.verdict, c.verdict);
  setText(item.route, c.route ? c.method + ' ' + c.route : 'outside requests');
  setText(item.place, c.place || 'no stack taken');
  setText(item.cost, duration(c.victim_ms));
  const counts = times(c.victims, 'victim', 'victims') + ' · ' + times(c.overruns, 'overrun', 'overruns') + ', longest ' + duration(c.longest_ms);
  setText(item.counts, c.live ? 'running for ' + duration(c.live_ms) + (c.victims ? ' · ' + times(c.victims, 'victim', 'victims') : '') : counts);
  setText(item.small, item.counts.textContent);
  item.details.classList.toggle('now', c.live);
  item.share.style.width = 100 * c.victim_ms / most + '%';
  const news = JSON.stringify([c.stack, c.worst, c.advice, c.live, c.overruns]);
  item.stale = item.stale || news !== item.news;
  item.news = news;
  item.culprit = c;
  if (item.details.open) fillMore(item);
}

function fillMore(item) {
  if (!item.stale) return;
  item.stale = false;
  const c = item.culprit, more = item.more;
  more.replaceChildren();
  if (c.advice) more.append(element('p', '', c.advice.charAt(0).toUpperCase() + c.advice.slice(1) + '.'));
  more.append(element('p', '', 'It held loops for ' + duration(c.held_ms) + ' and ran for ' + duration(c.ran_ms) + ' in total; ' + c.released + ' of ' + times(c.overruns, 'overrun', 'overruns') + ' released.'));
  more.append(element('h3', '', 'Stack, innermost call first'));
  const stack = element('ol', 'stack');
  for (const f of c.stack || []) {
    const file = f.file.split('/').pop() + (f.line ? ':' + f.line : ''), name = f.func.split('/').pop();
    const li = element('li', name + ' (' + file + ')' === c.place ? 'culprit' : '', name + ' ', element('span', '', file));
    li.title = f.func + '\n' + f.file + ':' + f.line;
    stack.append(li);
  }
  if (!stack.children.length) stack.append(element('li', '', c.live ? 'not taken yet' : 'not taken, the overrun was too short'));
  more.append(stack);
  if (!c.worst || !c.worst.length) return;
  more.append(element('h3', '', 'Longest delays'));
  const rows = c.worst.map(v => [v.route || 'a task', v.request_id || '', v.remote || '', {n: duration(v.delay_ms) + (v.estimated ? ', estimated' : '')}]);
  const table = element('table', '', element('tbody'));
  fillRows(table, rows);
  more.append(element('div', 'scroll', table));
}

// fillRows makes the rows of a table's body. A cell is text, or {n: number, c: class, t: text}.
function fillRows(table, rows) {
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, i) => {
    const row = body.rows[i] || body.insertRow();
    cells.forEach((cell, j) => {
      const td = row.cells[j] || row.insertCell();
      const text = cell.n ?? cell.t ?? cell;
      td.className = cell.n !== undefined ? 'n ' + (cell.c || '') : cell.c || '';
      setText(td, String(text));
      td.title = td.classList.contains('long') ? text : '';
    });
  });
}

// verdictText is the verdict of an overrun, and what it means if it does not blame the code.
function verdictText(o) {
  if (o.blamed) return o.verdict;
  return o.verdict + (o.verdict === 'unknown' ? ' (not determined)' : ' (cause outside of the code)');
}

function drawTables(f) {
  byID('no-overruns').hidden = f.overruns.length > 0;
  byID('overruns').parentElement.hidden = f.overruns.length === 0;
  fillRows(byID('overruns'), f.overruns.map(o => [
    new Date(o.started).toLocaleTimeString(), {n: o.loop}, {t: o.path ? o.method + ' ' + o.path : 'outside requests', c: 'long'},
    verdictText(o), {n: duration(o.held_ms) + (o.final || o.released ? '' : ' …')},
    {n: duration(o.ran_ms) + (o.released ? ', released' : '') + (o.final ? '' : ' …'), c: o.final ? '' : 'going'},
    {n: count(o.victims)}, {n: duration(o.victim_ms)},
  ]));
  fillRows(byID('routes'), f.routes.map(r => [
    {t: r.route, c: 'long'}, {n: count(r.rate)}, {n: duration(r.p50_ms)}, {n: duration(r.p99_ms)}, {n: count(r.failures)}, {n: count(r.total)},
    {t: (r.slices_ms || []).map(duration).join(', '), c: 'long'},
  ]));
  byID('problems-section').hidden = !f.problems;
  fillRows(byID('problems'), (f.problems || []).map(p => [p]));
  byID('upstreams-section').hidden = !f.upstreams;
  if (f.upstreams) {
    fillRows(byID('upstreams'), f.upstreams.map(u => [
      u.name, u.addr, {t: u.state, c: u.up ? '' : 'going'}, {n: count(u.active)}, {n: count(u.requests)}, {n: count(u.failures)},
    ]));
  }
}

function drawCertificates(f) {
  byID('certificates-section').hidden = !f.certificates;
  fillRows(byID('certificates'), (f.certificates || []).map(c => [
    {t: c.name, c: 'long'}, c.source, c.issuer || '–', {n: c.expires ? ((new Date(c.expires) - new Date(f.at)) / 864e5).toFixed(1) : '–'},
    c.renewal ? new Date(c.renewal).toLocaleString() : '–', c.ocsp || '–', {t: c.problem || '', c: c.problem ? 'going long' : ''},
  ]));
}

let last = null;

function draw(f) {
  last = f;
  drawStatus(f.status, statuses[f.status] || f.status);
  drawTiles(f);
  drawLoops(f);
  drawCulprits(f);
  drawTables(f);
  drawCertificates(f);
  document.documentElement.dataset.frames = Number(document.documentElement.dataset.frames || 0) + 1;
}

function follow() {
  const events = new EventSource('events');
  events.onmessage = e => draw(JSON.parse(e.data));
  events.onerror = () => {
    drawStatus('lost', 'no connection');
    // The browser reconnects by itself unless it was refused.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  };
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => last && draw(last));
addEventListener('resize', () => last && draw(last));
follow();
