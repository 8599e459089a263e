"""What `%claude` says about itself."""

SHORT_HELP = """\
%%claude [options]        ask Claude; the cell below is the prompt, sent exactly as typed
%claude [options] prompt  the same on one line
%claude status            client, limiter and settings, each with its source
%claude login             type in an API key, for this kernel only
%claude help              all of it (also %claude?)
"""

FULL_HELP = """\
Ask Claude. The answer streams into the cell.

    %%claude [NAME <<] [options] [--]
    prompt, as many lines as you like

    %claude [NAME <<] [options] [--] prompt

Options end at the first word that is none; from there on everything is the prompt and is sent character by
character: quotes, backslashes, #, {} and $ mean nothing here. Words behind the options on the %%claude line
are the prompt's first line. Write -- before a prompt that starts with a dash.

  -m, --model MODEL     the model that answers
  -s, --system TEXT     system prompt; "in quotes" if it has spaces
  --max-tokens N        the longest answer, in tokens, thinking included
  --effort LEVEL        how hard to try: low, medium, high, xhigh, max
  --thinking MODE       show (folded), hide, or off
  -o, --out NAME        bind the reply to a variable, also when interrupted; NAME << does the same

Subcommands, where they are the whole line:

  %claude status        client, limiter and every setting with its source; never a key
  %claude login         type in an API key; it stays in memory and ends with the kernel
  %claude logout        forget that key
  %claude demo on|off   let the simulator inside this package answer, or stop that
  %claude help          this text

The cell's value, _, is the reply: print(_.text), _.usage, _.message. The last one is also `claude.last`, after
`from claude_magic import claude`, and an interrupted or failed one keeps what had come of it.

%config ClaudeMagics.model = "claude-haiku-5-5" sets a default for the kernel; %config ClaudeMagics lists them all.
Keys come from ANTHROPIC_API_KEY where Jupyter was started, or from %claude login: never from a cell.
"""
