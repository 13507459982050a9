#compdef objlib
# objlib completions zsh > a folder of $fpath, as _objlib
_objlib() {
    local -a found
    local line
    for line in "${(@f)$($words[1] complete --current="$words[CURRENT]" -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#found )); then
        _describe objlib found
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _objlib "$@"
else
    compdef _objlib objlib
fi
