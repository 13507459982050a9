# objlib completions fish > ~/.config/fish/completions/objlib.fish
function __objlib_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($before[1] complete --current="$current" -- $before[2..-1] 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c objlib -f -a '(__objlib_complete)'
