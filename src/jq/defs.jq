# What the standard library lacks, or has other than jq; see src/jq/mod.rs.
def scan_(re; flags):
  matches(re; flags)[] | [.[].string] | if length > 1 then .[1:] else .[0] end;
def scan(re; flags): scan_(re; "g" + flags);
def scan(re): scan(re; "");
def type: typename;
def join($s):
  reduce .[] as $x (null;
    (if . == null then "" else . + $s end)
    + ($x | if . == null then "" elif isboolean or isnumber then tostring else . end)) // "";
def delpaths($paths):
  reduce ($paths | sort | reverse[]) as $path (.; if $path == [] then null else getpath($path) |= empty end);
def del(f): delpaths([path(f)]);
def pick(f): . as $from | reduce path(f) as $path (null; setpath($path; $from | getpath($path)));
def from_entries:
  reduce .[] as $x ({}; . + {
    ($x | if .key == null then .k // .name // .Name // .K // .Key else .key end
        | if isstring then . else tojson end):
    ($x | if has("value") then .value elif has("v") then .v else .Value end) });
def with_entries(f): to_entries | map(f) | from_entries;
def ltrimstr($x): if isstring and ($x | isstring) and startswith($x) then .[$x | length:] else . end;
def rtrimstr($x):
  if isstring and ($x | isstring) and endswith($x) and ($x != "") then .[:length - ($x | length)] else . end;
def trimstr($x): ltrimstr($x) | rtrimstr($x);
def need_(f; $message):
  if isempty(f) then error($message) else f | if . == null then error($message) else . end end;
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] |= $row);
def INDEX(f): INDEX(.[]; f);
def toarray: if isarray then . else [.] end;
def ascii: [.] | implode;
def have_literal_numbers: true;
def have_decnum: false;
def todate: strftime("%Y-%m-%dT%H:%M:%SZ");
def date: todate;
def dateadd($unit; $n): . + $n;
def datesub($unit; $n): . - $n;
def leaf_paths: paths(scalars);
def gamma: lgamma;
def @csv:
  map(if . == null then ""
    elif isstring then "\"" + (split("\"") | join("\"\"")) + "\""
    elif isarray or isobject then error("`@csv` takes no arrays and objects within a row")
    else tostring end) | join(",");
def @tsv:
  map(if . == null then ""
    elif isstring then split("\\") | join("\\\\") | split("\t") | join("\\t") | split("\n") | join("\\n")
      | split("\r") | join("\\r")
    elif isarray or isobject then error("`@tsv` takes no arrays and objects within a row")
    else tostring end) | join("\t");
