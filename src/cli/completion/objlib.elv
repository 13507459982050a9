# objlib completions elvish >> ~/.config/elvish/rc.elv
use str
set edit:completion:arg-completer[objlib] = {|@words|
    var before = $words[1..-1]
    var found = [(objlib complete --current=$words[-1] -- $@before 2>/dev/null | from-lines)]
    if (== 0 (count $found)) {
        edit:complete-filename $@words
    } else {
        for line $found {
            var parts = [(str:split "\t" $line)]
            edit:complex-candidate $parts[0] &display=$parts[0]"  "$parts[1]
        }
    }
}
